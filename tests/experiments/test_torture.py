"""The torture does every kind of thing, in small, and finds what it is to find."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from experiments.torture_child import point_of
from experiments.torture_sweeps import MARK, Sweeps
from iterdpo.evaluation.summary_file import write_summary
from tests import summaries
from tests.checkpoints import CheckpointOf
from tests.commands import run_python

FEW_KILLS = 3


def test_a_run_that_endures_every_kind_of_event_keeps_what_it_has(
    tmp_path: Path, checkpoint_of: CheckpointOf
) -> None:
    done = run_python(
        "-m", "tests.experiments.small_torture", str(tmp_path), str(checkpoint_of("llama"))
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["failures"] == [], (tmp_path / "errors.txt").read_text()
    assert report["kills"] == FEW_KILLS
    assert report["events"] == dict.fromkeys(
        ("start_again_and_kill", "replay_beside_gc", "kill_export", "kill_upload", "kill_report",
         "damage"), 1,
    )  # fmt: skip
    assert "M1/adapter_model.safetensors" in report["uploaded"]["model"]
    # What a kill loses is one shard at most, and here a shard is a stage.
    for what in ("tokens", "judgments", "steps"):
        assert 0 <= report["repeated"][what] <= FEW_KILLS * report["work"][what]


def made_sweep(fault: str, tries: Path, command: Sequence[str], mark: str) -> None:
    """Leave what a sweep leaves; from the third try on, the first to be disturbed, with a fault."""
    with tries.open("a") as file:
        file.write("x")
    faulty = len(tries.read_text()) > 2
    place = Path(mark)
    write_summary(
        summaries.summary([summaries.model(0, 4.0 if faulty and fault == "models" else 3.0)]),
        make(place / "runs" / "0"),
    )
    adapter = make(place / "store" / "adapter" / "0123") / "adapter"
    adapter.write_text("other" if faulty and fault == "data" else "trained")
    if faulty and fault == "failed":
        (place / "runs" / "0" / "failure.json").write_text("{}")
    if faulty and fault == "left":
        subprocess.Popen(["sleep", "60"], env=os.environ | {MARK: mark})
    said = "Traceback (most recent call last):\n" if faulty and fault == "tracebacks" else ""
    said += "job  overrides\n0    seed=" + ("1" if faulty and fault == "table" else "0")
    os.write(1, said.encode())  # pytest has sys.stdout


def make(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    return directory


@pytest.mark.parametrize("fault", ["", "models", "data", "failed", "left", "tracebacks", "table"])
def test_a_sweep_that_comes_to_something_else_is_found(tmp_path: Path, fault: str) -> None:
    (tmp_path / "tries").write_text("")
    failures: list[str] = []
    sweeps = Sweeps(
        tmp_path, [], random.Random(0), failures,
        partial(made_sweep, fault, tmp_path / "tries"), ends_within=0.2,
    )  # fmt: skip
    assert failures == []
    for event in sweeps.kinds[: 1 if fault else 4]:
        event()
    if fault == "left":
        for process in sweeps.left():
            os.kill(process, signal.SIGKILL)
    assert bool(failures) == bool(fault)
    assert all(fault in failure for failure in failures)


def test_writes_are_named_by_what_they_make(tmp_path: Path) -> None:
    names = {
        "candidates/.work-1/shards/00000000-00000004.x.parquet": "candidates shard replace",
        "adapter/.work-1/checkpoints/.partial-1": "adapter kept replace",
        "adapter/0123/adapter": "adapter stage replace",
        ".runs/1.json": ".runs replace",
    }
    for path, name in names.items():
        assert point_of("replace", tmp_path / path, tmp_path) == name
    assert (
        point_of("fsync", tmp_path.parent / "run" / "summary.json", tmp_path) == "run .json fsync"
    )
