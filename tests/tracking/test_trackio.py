"""The trackio tracker: what its database holds, without an account or a network."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from iterdpo.assemble import make_tracker
from iterdpo.config.compose import conf_directory, typed
from iterdpo.errors import ConfigError
from iterdpo.evaluation.summary_file import read_summary
from iterdpo.tracking.run_id import RUN_ID_FILE
from tests.commands import run_python

pytest.importorskip("trackio", reason="comes with extra trackio")
REPOSITORY = Path(__file__).parents[2]

# trackio takes its place from the environment when it is imported: each test has a process.
RUN = """
import sys
from pathlib import Path
from iterdpo.tracking.base import RunLabel
from iterdpo.tracking.trackio import TrackioTracker

tracker = TrackioTracker(run_dir=Path(sys.argv[1]), project="tests")
tracker.run_dir.mkdir(exist_ok=True)
tracker.start({"seed": 7, "hub": {"hf_token": "s3cr3t"}}, RunLabel("a run", "a group", ("t",), "n"))
tracker.metrics(0, {"quality/mean": 3.5})
tracker.metrics(1, {"quality/mean": 4.5})
tracker.curve("M2", [
    {"train/step": 5, "train/loss": 0.5, "train/M2/step": 1, "train/M2/loss": 0.5},
    {"train/step": 6, "train/loss": 0.4, "train/M2/step": 2, "train/M2/loss": 0.4},
])
tracker.table(1, "samples", [{"prompt": "<b>p</b>", "tokens": [1, 2]}])
tracker.table(1, "preference_pairs", [])
tracker.distributions(1, {"score": [0.0, 0.5, 4.0], "margin": []})
tracker.alarm("a title", "a text")
tracker.finish({}, failed=False)
"""


@dataclass(frozen=True)
class Database:
    """What trackio wrote of a project."""

    file: Path

    def rows(self, table: str) -> list[dict[str, Any]]:
        with sqlite3.connect(self.file) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(f"SELECT * FROM {table}")]

    def of(self, name: str) -> Iterator[tuple[int, Any]]:
        """Yield each step at which a metric was logged, and its value."""
        for row in self.rows("metrics"):
            metrics = json.loads(row["metrics"])
            if name in metrics:
                yield row["step"], metrics[name]


def run_alone(place: Path, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment: Mapping[str, str] = {
        **{name: value for name, value in os.environ.items() if not name.startswith("TRACKIO_")},
        "TRACKIO_DIR": str(place / "trackio"), "PYTHONPATH": str(REPOSITORY), **more,
    }  # fmt: skip
    return run_python(*command, env=environment, cwd=place)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Database:
    place = tmp_path_factory.mktemp("trackio")
    for _ in range(2):  # stopped and resumed: the second time it is the same run
        done = run_alone(place, "-c", RUN, str(place / "run"))
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
    return Database(place / "trackio" / "tests.db")


def test_numbers_stand_at_their_iteration_and_curves_at_their_steps(written: Database) -> None:
    assert set(written.of("quality/mean")) == {(0, 3.5), (1, 4.5)}
    assert set(written.of("train/loss")) == {(5, 0.5), (6, 0.4)}
    assert set(written.of("train/M2/loss")) == {(1, 0.5), (2, 0.4)}
    assert not set(written.of("train/step")) | set(written.of("train/M2/step"))


def test_tables_histograms_and_alarms_are_there(written: Database) -> None:
    (step, table), *_ = written.of("samples")
    assert (step, table["_value"]) == (1, [{"prompt": "<b>p</b>", "tokens": "[1, 2]"}])
    (step, bins), *_ = written.of("distribution/score")
    assert (step, sum(bins["values"]), len(bins["bins"])) == (1, 3, 33)
    assert not list(written.of("preference_pairs"))
    assert not list(written.of("distribution/margin"))
    assert {(row["title"], row["text"]) for row in written.rows("alerts")} == {
        ("a title", "a text")
    }


def test_a_resumed_run_is_the_same_one_and_holds_no_secret(written: Database) -> None:
    (row,) = written.rows("configs")
    run_id = (written.file.parents[1] / "run" / RUN_ID_FILE).read_text()
    assert row["run_name"] == f"a run {run_id}"
    config = json.loads(row["config"])
    assert (config["seed"], config["hub"], config["_Group"]) == (
        7, {"hf_token": "(hidden)"}, "a group",
    )  # fmt: skip
    assert b"s3cr3t" not in written.file.read_bytes()


def test_a_run_writes_its_metrics(tmp_path: Path) -> None:
    done = run_alone(
        tmp_path, "-m", "iterdpo", "experiment=smoke", "iterations=1", "tracking=trackio",
        "tracking.samples=1", "engine.device=cpu", "report=false", "prompts.per_iteration=8",
        f"store.root={tmp_path / 'store'}", f"hydra.run.dir={tmp_path / 'run'}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "tracking:" not in done.stderr
    assert "rackio" not in done.stdout
    result = read_summary(tmp_path / "run")
    found = Database(tmp_path / "trackio" / "iterdpo.db")
    for number, model in enumerate(result.models):
        told = (number, model.evaluation.response_tokens)
        assert told in set(found.of("response_tokens"))
    trained = result.iterations[0].training
    assert trained is not None
    steps = trained.steps
    assert [step for step, _ in found.of("train/loss")] == list(range(1, steps + 1))
    assert [step for step, _ in found.of("samples")] == [1]


def test_without_the_library_one_line_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def chosen() -> Any:
        with initialize_config_dir(str(conf_directory()), version_base="1.3"):
            return typed(compose("config", ["tracking=trackio"]))

    assert make_tracker(chosen(), tmp_path) is not None
    monkeypatch.setitem(sys.modules, "trackio", None)
    with pytest.raises(ConfigError, match=r"^tracking: trackio is not installed: pip install '"):
        chosen()
