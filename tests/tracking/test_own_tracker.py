"""A tracker of a user's own, as docs/tracking.md shows it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from iterdpo.assemble import make_tracker
from iterdpo.config.compose import conf_directory, typed
from tests.tracking.rounds import CONFIG, initial_round, made_round, result_of

DOCUMENT = Path(__file__).parents[2] / "docs" / "tracking.md"


def test_a_tracker_overrides_what_it_has_a_use_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(# my_tracker\.py\n.*?)```", DOCUMENT.read_text(), re.DOTALL)
    (tmp_path / "documented_tracker.py").write_text(code)
    chosen = ["tracking=custom", "tracking._target_=documented_tracker.Lines", "+tracking.digits=2"]
    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        tracker = make_tracker(typed(compose("config", chosen)), tmp_path)
    tracker.start(CONFIG, {}, tmp_path)
    tracker.round(initial_round(), result_of(0))
    tracker.round(made_round(tmp_path), result_of(1))
    tracker.finish(result_of(1), failed=False)
    assert caplog.messages == []
    lines = (tmp_path / "metrics.txt").read_text().splitlines()
    assert {"0 quality/mean 3", "1 quality/mean 3.5"} <= set(lines)
