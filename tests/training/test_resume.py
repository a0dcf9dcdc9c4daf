"""Trainings that are stopped and go on: they end with the bytes of one that was never stopped."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from trl import DPOTrainer

from iterdpo.errors import UserError
from iterdpo.runtime.signals import Stopped, StopRequest
from iterdpo.training import __main__, run
from iterdpo.training.spec import DpoSpec
from iterdpo.training.train import train
from tests.training.conftest import Files, MakeSpec, Whole
from tests.training.waiting import (
    AFTER_A_CHECKPOINT,
    IN_STEP_THREE,
    RequestInStepThree,
    running,
)

# Two optimizer steps an epoch, the second of which has a single micro batch instead of two.
SIX_STEPS = {
    "batch_size": 4, "micro_batch_size": 2, "epochs": 3, "schedule": "cosine", "warmup": 0.4,
}  # fmt: skip


Advance = Callable[[int, int], None]


def stop_at(step: int) -> Advance:
    def advance(done: int, total: int) -> None:
        if done == step:
            raise SystemExit

    return advance


def stopped(spec: DpoSpec, out: Path, step: int) -> None:
    """Train until the update of ``step`` is done, which is before its checkpoint."""
    with pytest.raises(SystemExit):
        train(spec, out, stop_at(step))
    assert not out.exists()


def steps_of(spec: DpoSpec, out: Path) -> list[int]:
    """Train to the end and return the steps that were taken."""
    steps: list[int] = []
    train(spec, out, lambda done, total: steps.append(done))
    return steps


@pytest.fixture
def make(make_spec: MakeSpec, tmp_path: Path) -> MakeSpec:
    def make(*args: Any, **changes: Any) -> DpoSpec:
        changes = {"checkpoints": str(tmp_path / "kept"), "checkpoint_steps": 1} | changes
        return make_spec(*args, **(SIX_STEPS | changes))

    return make


@pytest.mark.parametrize("step", [1, 2, 3, 4, 5, 6])
def test_a_training_stopped_at_any_step_ends_with_the_same_bytes(
    make: MakeSpec, whole: Whole, files: Files, tmp_path: Path, step: int
) -> None:
    spec = make()
    stopped(spec, tmp_path / "first", step)
    assert steps_of(spec, tmp_path / "again") == list(range(step, 7))
    assert files(tmp_path / "again") == whole(spec)


@pytest.mark.parametrize(("every", "stop", "first"), [(4, 4, 1), (4, 6, 5), (2, 5, 5), (9, 6, 1)])
def test_a_stop_costs_at_most_the_steps_between_two_checkpoints(
    make: MakeSpec, whole: Whole, files: Files, tmp_path: Path, every: int, stop: int, first: int
) -> None:
    spec = make(checkpoint_steps=every)
    stopped(spec, tmp_path / "first", stop)
    assert steps_of(spec, tmp_path / "again") == list(range(first, 7))
    assert files(tmp_path / "again") == whole(spec)


@pytest.mark.parametrize(
    ("quantization", "dtype", "changes"),
    [
        ("nf4", "float32", {}),
        ("nf4-double", "float32", {"gradient_checkpointing": True, "schedule": "linear"}),
        ("nf4", "bfloat16", {"loss": ("sigmoid", "sft"), "loss_weights": (1.0, 0.2)}),
        ("int8", "float32", {"weight_decay": 0.1, "schedule": "constant"}),
        ("none", "float32", {"epochs": 2.5, "optimizer": "adafactor"}),
    ],
)
def test_every_kind_of_training_goes_on_stopped_twice(
    make: MakeSpec,
    whole: Whole,
    files: Files,
    tmp_path: Path,
    quantization: str,
    dtype: str,
    changes: dict[str, Any],
) -> None:
    spec = make(quantization, **changes)
    spec = dataclasses.replace(spec, base=dataclasses.replace(spec.base, dtype=dtype))
    stopped(spec, tmp_path / "first", 2)
    stopped(spec, tmp_path / "second", 4)
    last = json.loads(whole(spec)["training.json"])["steps"]
    assert steps_of(spec, tmp_path / "third") == list(range(4, last + 1))
    assert files(tmp_path / "third") == whole(spec)


@pytest.mark.parametrize("step", [4, 5])  # goes on within an epoch, and between two
def test_random_numbers_go_on_where_they_stopped(
    make: MakeSpec, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """Nothing here draws any today, dropout being off; a loss or an optimizer may tomorrow."""
    real: Any = DPOTrainer.compute_loss

    drawn: list[float] = []

    def noisy(self: Any, *args: Any, **kwargs: Any) -> Any:
        loss = real(self, *args, **kwargs)
        drawn[:] = [float(torch.rand(())), random.random(), float(np.random.rand())]
        return loss * (1 + sum(drawn) * (self.progress.step_zero is not None))

    monkeypatch.setattr(DPOTrainer, "compute_loss", noisy)
    train(make(checkpoints=None), tmp_path / "whole")
    last = list(drawn)
    stopped(make(), tmp_path / "first", step)
    assert steps_of(make(), tmp_path / "again") == list(range(step, 7))
    assert drawn == last
    assert files(tmp_path / "again") == files(tmp_path / "whole")


def test_the_start_and_the_reference_are_those_of_the_beginning(
    make: MakeSpec, whole: Whole, files: Files, tmp_path: Path
) -> None:
    first = make()
    train(dataclasses.replace(first, checkpoints=None), tmp_path / "M1")
    spec = make(
        policy_adapter=str(tmp_path / "M1" / "adapter"),
        reference_is_start=False,  # the base
    )
    stopped(spec, tmp_path / "first", 4)
    assert steps_of(spec, tmp_path / "again") == [4, 5, 6]
    assert files(tmp_path / "again") == whole(spec)
    report, canary = (json.loads(whole(spec)[f"{name}.json"]) for name in ("training", "canary"))
    assert report["step0"]["largest_reward"] > 0.01
    assert max(abs(sum(text["before"]) - sum(text["after"])) for text in canary["texts"]) > 0.1


def test_only_the_last_checkpoint_is_kept_and_none_when_it_is_switched_off(
    make: MakeSpec, tmp_path: Path
) -> None:
    spec = make()
    train(spec, tmp_path / "out")
    (kept,) = (tmp_path / "kept").iterdir()
    assert kept.name.endswith("-step-00000005")  # the sixth is the end
    unkept: list[dict[str, Any]] = [{"checkpoints": None}, {"checkpoint_steps": None}]
    for number, changes in enumerate(unkept):
        shutil.rmtree(tmp_path / "kept", ignore_errors=True)
        train(dataclasses.replace(spec, **changes), tmp_path / f"off{number}")
        assert not (tmp_path / "kept").exists()


def test_a_training_never_goes_on_from_the_checkpoint_of_another(
    make: MakeSpec, whole: Whole, files: Files, tmp_path: Path
) -> None:
    one, other = make(learning_rate=1e-2), make(learning_rate=2e-2)
    stopped(one, tmp_path / "one", 4)
    assert steps_of(other, tmp_path / "other") == [1, 2, 3, 4, 5, 6]
    assert files(tmp_path / "other") == whole(other)
    assert steps_of(one, tmp_path / "one") == [4, 5, 6]


def test_a_damaged_checkpoint_is_set_aside_and_training_starts_over(
    make: MakeSpec, whole: Whole, files: Files, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spec = make()
    stopped(spec, tmp_path / "first", 4)
    (kept,) = (tmp_path / "kept").iterdir()
    path = kept / "policy.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert steps_of(spec, tmp_path / "again") == [1, 2, 3, 4, 5, 6]
    assert files(tmp_path / "again") == whole(spec)
    assert "damaged policy.safetensors" in caplog.text
    assert {path.suffix for path in (tmp_path / "kept").iterdir()} == {"", ".corrupt-1"}


def test_a_kill_while_a_checkpoint_is_written_leaves_the_one_before(
    make: MakeSpec, whole: Whole, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = os.rename

    def killed(source: Any, target: Any, **kwargs: Any) -> None:
        if str(target).endswith("-step-00000003"):
            raise SystemExit
        rename(source, target, **kwargs)

    spec = make()
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", killed)
        with pytest.raises(SystemExit):
            train(spec, tmp_path / "first")
    assert steps_of(spec, tmp_path / "again") == [3, 4, 5, 6]
    assert files(tmp_path / "again") == whole(spec)


def test_a_checkpoint_that_cannot_be_written_does_not_stop_the_training(
    make: MakeSpec,
    whole: Whole,
    files: Files,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    spec = make()
    monkeypatch.setattr("iterdpo.training.resumable.save_weights", full)
    assert steps_of(spec, tmp_path / "out") == [1, 2, 3, 4, 5, 6]
    assert files(tmp_path / "out") == whole(spec)
    assert "No space left on device" in caplog.text
    assert not list((tmp_path / "kept").iterdir())


def test_a_child_that_is_killed_goes_on_in_another(
    make: MakeSpec, whole: Whole, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make("nf4", process="spawn")
    started: list[subprocess.Popen[bytes]] = []

    def kill_at_the_first_checkpoint() -> None:
        while not over.wait(0.01):
            if list((tmp_path / "kept").glob("*-step-*")):
                started[0].kill()
                return

    over = threading.Event()
    killer = threading.Thread(target=kill_at_the_first_checkpoint)
    killer.start()
    (tmp_path / "first").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", running(AFTER_A_CHECKPOINT, started))
        try:
            with pytest.raises(UserError, match=r"SIGKILL.*last checkpoint"):
                run.run_training(spec, tmp_path / "first", "M1 trains")
        finally:
            over.set()
            killer.join()
    (kept,) = (tmp_path / "kept").glob("*-step-*")
    assert int(kept.name[-8:]) == 1
    (tmp_path / "again").mkdir()
    report = run.run_training(spec, tmp_path / "again", "M1 trains")
    assert files(tmp_path / "again") == whole(spec)
    assert report == json.loads(whole(spec)["training.json"])


@pytest.mark.parametrize("process", ["inline", "spawn"])
def test_a_request_to_stop_is_met_with_a_checkpoint_of_the_last_step(
    make: MakeSpec,
    whole: Whole,
    files: Files,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    process: str,
) -> None:
    spec = make(process=process, checkpoint_steps=1000)
    if process == "inline":
        stop = StopRequest()
        with pytest.raises(Stopped):
            train(spec, tmp_path / "first", request_at(3, stop), stop)
    else:
        (tmp_path / "first").mkdir()
        monkeypatch.setattr(subprocess, "Popen", running(IN_STEP_THREE, []))
        with pytest.raises(Stopped):
            run.run_training(
                spec, tmp_path / "first", "M1 trains", RequestInStepThree(tmp_path / "first")
            )
    (kept,) = (tmp_path / "kept").glob("*-step-*")
    assert int(kept.name[-8:]) == 3
    (tmp_path / "again").mkdir()
    train(spec, tmp_path / "again")
    assert files(tmp_path / "again") == whole(spec)


@pytest.mark.parametrize("process", ["inline", "spawn"])
def test_a_training_that_is_done_when_it_is_asked_to_stop_is_kept(
    make: MakeSpec,
    whole: Whole,
    files: Files,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    process: str,
) -> None:
    spec, stop = make(process=process, checkpoint_steps=4), StopRequest()
    (tmp_path / "out").mkdir()
    if process == "inline":
        train(spec, tmp_path / "out", request_at(6, stop), stop)
    else:

        def here(command: Any, **kwargs: Any) -> Any:
            assert __main__.main(*command[3:]) == 0
            stop.number = signal.SIGTERM
            return contextlib.nullcontext()

        monkeypatch.setattr(subprocess, "Popen", here)
        monkeypatch.setattr(run, "_waited_for", lambda child, stop: 0)
        run.run_training(spec, tmp_path / "out", "M1 trains", stop)
    assert stop.requested
    assert files(tmp_path / "out") == whole(spec)


def request_at(step: int, stop: StopRequest) -> Advance:
    def advance(done: int, total: int) -> None:
        if done == step:
            stop.number = signal.SIGTERM

    return advance


def test_a_child_ends_with_its_parent(make: MakeSpec, tmp_path: Path) -> None:
    make().write(tmp_path / "spec.json")
    (tmp_path / "out").mkdir()
    command = ["-m", "iterdpo.training", str(tmp_path / "spec.json"), str(tmp_path / "out"), "M1"]
    with subprocess.Popen([sys.executable, *command], stdin=subprocess.PIPE) as child:
        assert child.stdin is not None
        child.stdin.close()  # as the kernel does for a parent that is killed
        assert child.wait(timeout=60) == 1
    assert not list((tmp_path / "out").iterdir())
