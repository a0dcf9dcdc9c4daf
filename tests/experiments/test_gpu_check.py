"""The first minutes on a GPU: what is known is kept, whatever a step does."""

from __future__ import annotations

import ast
import json
import time
from pathlib import Path

import pytest

from experiments.gpu_check import STEPS, Step, check, main, outcome_of
from tests.processes import started_with


def step(name: str, code: str, limit: float = 60) -> Step:
    return Step(name, "does it?", ("-c", code), limit)


def test_each_outcome_is_saved_before_the_next_step_begins(tmp_path: Path) -> None:
    steps = [
        step("right", "print('3 passed in 1.0s')"),
        step("wrong", "raise SystemExit('1 failed in 1.0s')"),
        step("absent", "print('2 skipped in 1.0s')"),
    ]
    known = []
    for done in check(steps, tmp_path, 600):
        known.append(done.outcome)
        rows = (tmp_path / "steps.jsonl").read_text().splitlines()
        assert [json.loads(row)["outcome"] for row in rows] == known
    assert known == ["passed", "failed", "skipped"]
    assert (tmp_path / "wrong.log").read_text() == "1 failed in 1.0s\n"


def test_a_step_out_of_time_ends_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STARTED_BY", str(tmp_path))
    code = (
        "import signal, subprocess, sys\n"
        "subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'])\n"
        "signal.pause()"
    )
    (done,) = check([step("hangs", code, limit=1)], tmp_path, 600)
    assert done.outcome == "out of time"
    until = time.monotonic() + 60
    while started_with(f"STARTED_BY={tmp_path}") and time.monotonic() < until:
        time.sleep(0.05)  # what was killed is there until the system has cleared it away
    assert started_with(f"STARTED_BY={tmp_path}") == set()


def test_nothing_begins_after_the_last_minute(tmp_path: Path) -> None:
    (done,) = check([step("late", "print('passed')")], tmp_path, 0)
    assert (done.outcome, done.said) == ("out of time", "not begun")


@pytest.mark.parametrize(
    ("status", "said", "outcome"),
    [
        (0, "2 passed, 1 skipped in 3.1s", "passed"),
        (0, "1 skipped in 0.1s", "skipped"),
        (5, "no tests ran in 0.1s", "skipped"),
        (1, "1 failed, 2 passed in 3.1s", "failed"),
        (-9, "2 passed", "failed"),
        (None, "2 passed", "out of time"),
        (0, "the page was written", "passed"),
    ],
)
def test_what_a_status_means(status: int | None, said: str, outcome: str) -> None:
    assert outcome_of(status, said) == outcome


def test_every_step_names_what_is_there() -> None:
    places = [argument for step in STEPS for argument in step.arguments if "tests/gpu" in argument]
    assert len(places) >= 6
    for place in places:
        file, _, test = place.partition("::")
        tree = ast.parse(Path(file).read_text())
        names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert not test or test.partition("[")[0] in names, place


def test_without_a_device_it_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("ITERDPO_REHEARSE_GPU", raising=False)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main([]) == 2
    assert "no CUDA device is there" in capsys.readouterr().err
