"""Several processes give the training that one gives, up to the order in which sums are added.

They are started as a run starts them, on the CPU.
"""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from iterdpo.errors import LineageError, UserError
from iterdpo.runtime.signals import Stopped, StopRequest
from iterdpo.training import __main__ as child
from iterdpo.training import launch, run
from iterdpo.training.launch import launched
from iterdpo.training.run import run_training
from iterdpo.training.spec import AnySpec
from tests.narrowing import present
from tests.processes import children_of, is_running
from tests.training.conftest import MakeLessons, MakeSpec, odds_spec
from tests.training.test_accumulation import uneven
from tests.training.waiting import AFTER_A_CHECKPOINT

pytestmark = pytest.mark.slow

# Of 13: two steps of 6, whose three micro batches two processes share unevenly, and one of a single
# row, in which a process has nothing to do; then all again.
UNEVEN: dict[str, Any] = {
    "batch_size": 6,
    "micro_batch_size": 2,
    "epochs": 2,
    "learning_rate": 1e-3,
}
ROWS = 13
ALL_WEIGHTS: dict[str, Any] = {"lora": None, "reference_adapter": None}
MIXED: dict[str, Any] = {"loss": ("sigmoid", "sft"), "loss_weights": (1.0, 0.5)}


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes on two cores; and no tensor is cut for threads in one way and not another."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def trained_by(
    spec: AnySpec, out: Path, processes: int | None = None, stop: StopRequest | None = None
) -> dict[str, Any]:
    """Train inline, or launched in ``processes``; return the report."""
    changes: dict[str, Any] = {
        "process": "launch" if processes else "inline",
        "processes": processes,
    }
    out.mkdir()
    asked: Any = spec
    training = dataclasses.replace(asked.training, **changes)
    return run_training(dataclasses.replace(asked, training=training), out, "M1 trains", stop)


def weights_in(out: Path) -> torch.Tensor:
    (file,) = out.rglob("*.safetensors")
    return torch.cat([weight.double().flatten() for _, weight in sorted(load_file(file).items())])


@pytest.fixture
def asked_for(make_spec: MakeSpec, make_sft_spec: MakeLessons) -> Callable[..., Any]:
    """A function from a kind of training to its spec, over answers of unequal length."""

    def get(kind: str, **changes: Any) -> AnySpec:
        if kind == "sft":
            examples = make_sft_spec(examples=ROWS, **(UNEVEN | changes))
            lora = dataclasses.replace(present(examples.lora), dropout=0.2)
            return dataclasses.replace(examples, lora=lora)
        kinds: dict[str, dict[str, Any]] = {
            "adapter": MIXED,
            "all weights": ALL_WEIGHTS,
            "orpo": {},
        }
        spec = make_spec(pairs=ROWS, **(UNEVEN | kinds[kind] | changes))
        uneven(spec)
        return odds_spec(spec) if kind == "orpo" else spec

    return get


def assert_same(out: Path, report: Any, other: Path, expected: Any) -> None:
    """Compare two trainings that add the same float32 numbers in another order.

    A sum of three gradients or losses in another order differs by about 1e-7 of it (the unit
    roundoff is 6e-8), and 6 steps leave such a difference that small: 5e-8 of the weights' norm and
    3e-7 of a loss were seen. An answer's log-prob is about -40, so a reward, which is the small
    difference of two of them times beta, is known to 1e-6 at best, however small it is itself.
    """
    assert len(report["history"]) == len(expected["history"]) == 6
    for ours, theirs in zip(report["history"], expected["history"], strict=True):
        assert ours == pytest.approx(theirs, rel=1e-6, abs=1e-5)
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-6, abs=0)
    assert report["step0"] == pytest.approx(expected["step0"], rel=1e-6)
    assert report.get("reference_unchanged") == expected.get("reference_unchanged")
    weights, others = weights_in(out), weights_in(other)
    assert (weights - others).norm() < 1e-6 * others.norm()
    names = {path.relative_to(out) for path in out.rglob("*")}
    assert names == {path.relative_to(other) for path in other.rglob("*")}


@pytest.mark.parametrize("kind", ["adapter", "sft"])
def test_two_processes_train_as_one_does(
    asked_for: Callable[..., Any], tmp_path: Path, kind: str
) -> None:
    spec = asked_for(kind)
    alone = trained_by(spec, tmp_path / "alone")
    together = trained_by(spec, tmp_path / "together", processes=2)
    assert_same(tmp_path / "together", together, tmp_path / "alone", alone)


def test_two_processes_that_are_stopped_go_on_with_all_weights(
    asked_for: Callable[..., Any], tmp_path: Path
) -> None:
    spec = asked_for("all weights")
    alone = trained_by(spec, tmp_path / "alone")
    spec = dataclasses.replace(spec, checkpoints=str(tmp_path / "kept"), checkpoint_steps=1000)
    stop = StopRequest()
    stop.number = signal.SIGTERM
    with pytest.raises(Stopped):
        trained_by(spec, tmp_path / "first", 2, stop)
    (kept,) = (tmp_path / "kept").glob("*-step-*")
    assert 1 <= int(kept.name[-8:]) < 6
    assert not list((tmp_path / "first").iterdir())
    again = trained_by(spec, tmp_path / "again", processes=2)
    assert_same(tmp_path / "again", again, tmp_path / "alone", alone)


def test_a_launcher_that_is_killed_leaves_no_process_and_one_goes_on(
    asked_for: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = asked_for("orpo")
    alone = trained_by(spec, tmp_path / "alone")
    spec = dataclasses.replace(spec, checkpoints=str(tmp_path / "kept"), checkpoint_steps=1)
    monkeypatch.setattr(launch, "CHILD", ("-c", AFTER_A_CHECKPOINT))
    started: list[subprocess.Popen[bytes]] = []
    over = threading.Event()

    class Launcher(subprocess.Popen[bytes]):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            started.append(self)

    def kill_at_the_first_checkpoint() -> None:
        while not over.wait(0.01):
            if list((tmp_path / "kept").glob("*-step-*")):
                children.update(children_of(started[0].pid))
                started[0].kill()
                return

    children: set[int] = set()
    monkeypatch.setattr(subprocess, "Popen", Launcher)
    killer = threading.Thread(target=kill_at_the_first_checkpoint)
    killer.start()
    try:
        with pytest.raises(UserError, match=r"SIGKILL.*last checkpoint"):
            trained_by(spec, tmp_path / "first", processes=2)
    finally:
        over.set()
        killer.join()
    assert len(children) == 2
    until = time.monotonic() + 60
    while any(is_running(pid) for pid in children) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(is_running(pid) for pid in children)
    again = trained_by(spec, tmp_path / "again")
    assert_same(tmp_path / "again", again, tmp_path / "alone", alone)


def test_a_failure_in_one_process_ends_all_with_its_message(
    asked_for: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Process 1 alone fails after its second step, while process 0 waits for it in the third."""
    script = tmp_path / "child.py"
    script.write_text(
        "import os, sys\n"
        "from iterdpo.errors import LineageError\n"
        "from iterdpo.training import __main__, callbacks\n"
        "real = callbacks.check_loss\n"
        "def check(history, spec):\n"
        "    if len(history) == 2:\n"
        "        raise LineageError('the second process found something')\n"
        "if os.environ['RANK'] == '1':\n"
        "    callbacks.check_loss = check\n"
        "sys.exit(__main__.start(*sys.argv[1:]))\n"
    )
    monkeypatch.setattr(launch, "CHILD", (str(script),))
    statuses = []

    def noted(*args: Any) -> Any:
        statuses.append(launched(*args))
        return statuses[-1]

    monkeypatch.setattr(run, "launched", noted)
    with pytest.raises(LineageError, match=r"^the second process found something$"):
        trained_by(asked_for("adapter"), tmp_path / "out", processes=2)
    assert statuses == [0]  # all went when they were told to, and nobody waited for a signal
    (left,) = (tmp_path / "out").iterdir()
    assert left.name == launch.TRAINING_FAILURE_FILE
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("error", [LineageError("found"), ValueError("found")])
def test_who_fails_says_why_before_it_leaves_the_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """The others notice who leaves, and would be the first to say something."""
    there: list[bool] = []

    @contextmanager
    def joined(environment: object) -> Iterator[None]:
        try:
            yield
        finally:
            there.append((tmp_path / launch.TRAINING_FAILURE_FILE).is_file())

    def train_here(*_: object) -> None:
        raise error

    monkeypatch.setattr(child, "joined", joined)
    monkeypatch.setattr(child, "read_spec", str)
    monkeypatch.setattr(child, "train_here", train_here)
    with suppress(ValueError):
        assert child.main("spec", str(tmp_path), "M1 trains") == 1
    assert there == [True]
