"""What goes wrong around a run: one line, a clean store, and nothing lost."""

from __future__ import annotations

import errno
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from iterdpo.cli import execute as run
from iterdpo.errors import UserError
from iterdpo.evaluation.summary import ModelSummary
from iterdpo.evaluation.summary_file import read_summary
from iterdpo.store import atomic
from iterdpo.store import runner as stages
from iterdpo.store.manifest import verify
from tests.commands import run_python
from tests.loop.conftest import Configure
from tests.loop.sizes import SMALL

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parents[2]
SMOKE = ("experiment=smoke", "iterations=1", *SMALL)
STAGES = ("base", "candidates", "judgments", "adapter")


def assert_clean(store: Path) -> None:
    """Every finished stage is whole, and nothing half-made has a final name."""
    for directory in store.glob("[!.]*/[!.]*"):
        if ".corrupt-" not in directory.name:
            verify(directory)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelSummary, ...]:
    """The models of a run that nothing disturbed."""
    from hydra import compose, initialize_config_dir

    from iterdpo.config.compose import conf_directory, typed

    place = tmp_path_factory.mktemp("undisturbed")
    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        composed = compose(
            "config",
            overrides=[*SMOKE, "tracking=none", "engine.device=cpu", f"store.root={place}/store"],
        )
    return run.execute(typed(composed), place / "run").models


@pytest.mark.parametrize("stage", STAGES)
def test_a_full_disk_in_any_stage_is_a_line_and_the_run_goes_on_later(
    configure: Configure,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    expected: tuple[ModelSummary, ...],
    stage: str,
) -> None:
    sync = atomic.sync

    def full(path: Path) -> None:
        if path.parent.parent.name == stage or path.parent.name == stage:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        sync(path)

    with monkeypatch.context() as patched:
        patched.setattr(atomic, "sync", full)
        with pytest.raises(UserError, match=rf"{stage}.*the disk is full .* make room and run"):
            run.execute(configure(*SMOKE), tmp_path / "run")
    assert_clean(tmp_path / "store")
    assert run.execute(configure(*SMOKE), tmp_path / "again").models == expected
    assert_clean(tmp_path / "store")


@pytest.mark.parametrize(
    ("code", "said"),
    [(errno.ENOSPC, "the disk is full"), (errno.EACCES, r"another directory, hydra\.run\.dir=DIR")],
)
def test_a_run_directory_that_takes_no_more_is_a_line(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, said: str
) -> None:
    def refuse(used: Any, directory: Any) -> None:
        raise OSError(code, os.strerror(code), str(directory))

    monkeypatch.setattr("iterdpo.runs.execute.link", refuse)
    with pytest.raises(UserError, match=said):
        run.execute(configure(*SMOKE), tmp_path / "run")
    assert_clean(tmp_path / "store")


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
def test_a_store_that_cannot_be_written_to_is_a_line(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise OSError(code, os.strerror(code), str(args[0]))

    monkeypatch.setattr(stages, "published_directory", refuse)
    with pytest.raises(UserError, match=r"cannot be read and written .* store\.root=DIR"):
        run.execute(configure(*SMOKE), tmp_path / "run")
    assert_clean(tmp_path / "store")


def test_prompts_that_do_not_fit_the_context_are_named_and_no_margin_is_blamed(
    configure: Configure, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"^iteration 1: no prompt was answered.*model\.context"):
        run.execute(configure(*SMOKE, "model.context=30"), tmp_path / "run")
    assert_clean(tmp_path / "store")


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("training.max_length=1", r"^training\.max_length=1: the prompts of .* leave no room"),
        ("model.adapter.target_modules=[nowhere]", r"^model\.adapter\.target_modules=.*all-linear"),
        ("model.adapter.target_modules='[('", r"^model\.adapter\.target_modules=.*all-linear"),
    ],
)
def test_a_training_that_cannot_begin_names_the_setting(
    configure: Configure, tmp_path: Path, setting: str, said: str
) -> None:
    with pytest.raises(UserError, match=said):
        run.execute(configure(*SMOKE, setting), tmp_path / "run")
    assert_clean(tmp_path / "store")


def test_all_scores_tied_stops_with_the_histogram_or_is_skipped(
    configure: Configure, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"no preference pair was left .*scores: .*4: \d+"):
        run.execute(configure(*SMOKE, "pairs.min_margin=5"), tmp_path / "stopped")
    skipped = run.execute(
        configure(*SMOKE, "pairs.min_margin=5", "pairs.on_empty=skip"), tmp_path / "skipped"
    )
    assert skipped.iterations[0].training is None
    assert_clean(tmp_path / "store")


def test_an_older_stores_stage_is_set_aside_and_computed_again(
    configure: Configure, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = run.execute(configure(*SMOKE), tmp_path / "first")
    manifest = next((tmp_path / "store" / "pairs").glob("*/stage.json"))
    manifest.write_text(json.dumps({"schema": 0, "outputs": ["records.parquet"]}))
    again = run.execute(configure(*SMOKE), tmp_path / "again")
    assert again.models == first.models
    assert f"{manifest} has no usable key, identity, " in caplog.text
    assert_clean(tmp_path / "store")


def test_a_clock_that_jumps_changes_nothing(
    configure: Configure,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    expected: tuple[ModelSummary, ...],
) -> None:
    now, calls = time.time, iter(range(10**9))
    monkeypatch.setattr(time, "time", lambda: now() + (-1) ** next(calls) * 10**7)
    assert run.execute(configure(*SMOKE), tmp_path / "run").models == expected


def test_a_tracker_whose_process_is_killed_costs_a_warning(tmp_path: Path) -> None:
    """W&B's service dies while the run goes on."""
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from iterdpo.tracking.wandb import WandbTracker\n"
        "from tests.processes import children_of\n"
        "start = WandbTracker.start\n"
        "def start_then_kill(self, *args):\n"
        "    start(self, *args)\n"
        "    for child in children_of(os.getpid()):\n"
        "        if 'wandb-core' in Path(f'/proc/{child}/stat').read_text():\n"
        "            os.kill(child, signal.SIGKILL)\n"
        "            print('killed', file=sys.stderr)\n"
        "WandbTracker.start = start_then_kill\n"
        "from iterdpo.__main__ import main\n"
        "main()\n"
    )
    command = [
        "-c", code, *SMOKE, "tracking=wandb", "tracking.mode=offline",
        "engine.device=cpu", f"store.root={tmp_path / 'store'}",
        f"hydra.run.dir={tmp_path / 'run'}",
    ]  # fmt: skip
    done = run_python(*command, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    assert "killed" in done.stderr
    assert "tracking" in done.stderr
    assert len(read_summary(tmp_path / "run").models) == 2
