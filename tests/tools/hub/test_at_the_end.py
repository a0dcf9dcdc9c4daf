"""A run that was told to share itself does so when it is done, and has done all else before."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest

from iterdpo.cli import execute as run
from iterdpo.engines.scripted import ScriptedEngine
from iterdpo.evaluation.summary_file import read_summary
from tests.checkpoints import CheckpointOf
from tests.made_run import answer, choose, config_of
from tests.tools.hub.standin import TOKEN, StandIn


@pytest.mark.parametrize("refused", [False, True])
def test_a_run_shares_itself(
    refused: bool,
    finished_run: Path,
    checkpoint_of: CheckpointOf,
    tmp_path: Path,
    hub: StandIn,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # Every stage is in the store already, so nothing is computed again.
    place = shutil.copytree(finished_run.parent, tmp_path / "place", symlinks=True)
    config = config_of(
        place, checkpoint_of("llama"), "hub=push", "hub.repo=me/tiny", "hub.models=last",
        f"hub.endpoint={hub.url}",
    )  # fmt: skip
    if refused:
        hub.answers["preupload"] = (403, {"X-Error-Message": TOKEN})
    with caplog.at_level(logging.INFO, logger="iterdpo"):
        result = run.execute(
            config, place / "again", ScriptedEngine(answer=answer, choose=choose, vocabulary=200)
        )
    assert [model.name for model in result.models] == ["M0", "M1", "M2"]
    assert read_summary(place / "again") == result
    shared = hub.repos.get(("model", "me/tiny"), {"files": {}})["files"]
    assert ("adapter_model.safetensors" in shared) != refused
    warned = [item.getMessage() for item in caplog.records if item.levelno == logging.WARNING]
    assert any("python -m iterdpo.sharing" in line for line in warned) == refused
    assert TOKEN not in caplog.text
    for file in place.rglob("*"):
        assert not file.is_file() or TOKEN.encode() not in file.read_bytes(), file
