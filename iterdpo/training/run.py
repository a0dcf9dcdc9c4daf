"""Where a training runs: in this process, in a child that gives its memory back, or in several."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals
from typing import Any

from iterdpo.errors import LineageError, UserError
from iterdpo.models.layout import TRAINING_FILE
from iterdpo.runtime.progress import Bar
from iterdpo.runtime.signals import StopRequest
from iterdpo.training.distributed import ProcessGroup
from iterdpo.training.launch import (
    POLL_SECONDS,
    TRAINING_FAILURE_FILE,
    launched,
    number_of_processes,
)
from iterdpo.training.spec import AnySpec

SPEC_FILE = "spec.json"


def run_training(
    spec: AnySpec, out: Path, description: str, stop: StopRequest | None = None
) -> dict[str, Any]:
    """Train as ``spec.training.process`` says and return what ``training.json`` holds.

    Raises:
        LineageError, UserError: as ``train.train``, from the child as well.
        UserError: a signal ended the child.
        Stopped: ``stop`` was requested; the child is told so and waited for.
    """
    stop = stop or StopRequest()
    if spec.training.process == "inline":
        return train_here(spec, out, description, stop)
    spec_file = out / SPEC_FILE
    spec.write(spec_file)
    arguments = [str(spec_file), str(out), description]
    if spec.training.process == "launch":
        import torch

        gpus = torch.cuda.device_count()
        processes = number_of_processes(spec.section, spec.training.processes, gpus)
        status = launched(arguments, out, processes, stop)
    else:
        status = _train_in_child(arguments, stop)
    spec_file.unlink()
    return _result(out, status, stop, spec.training.process == "launch")


def train_here(spec: AnySpec, out: Path, description: str, stop: StopRequest) -> dict[str, Any]:
    """Train in this process, with a progress bar, and give its memory back."""
    from iterdpo.models.loading import free_memory
    from iterdpo.training.train import train, trainer_class

    trainer_class(spec)  # loads what it needs
    with _collecting_nothing_older():
        try:
            with Bar(description, "step", quiet=not ProcessGroup.here().is_main_process) as bar:
                return train(spec, out, bar.update, stop)
        finally:
            free_memory()


@contextmanager
def _collecting_nothing_older() -> Iterator[None]:
    """Have the garbage collector pass over what is there already, which is mostly libraries.

    A full collection walks through all of their objects, a third of a second, and the trainer's
    and our own ask for several.
    """
    if gc.get_freeze_count():  # whoever did so knows until when
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _train_in_child(arguments: list[str], stop: StopRequest) -> int:
    command = [sys.executable, "-m", "iterdpo.training", *arguments]
    # Nothing is written to the child's input: that it ends tells the child that its parent did.
    # A session of its own, because Ctrl-C reaches a whole one: the child is told once, by us.
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
    ) as child:
        return _waited_for(child, stop)


def _result(out: Path, status: int, stop: StopRequest, launched: bool) -> dict[str, Any]:
    """Return what children have left, or raise what they failed with.

    Processes that were ``launched`` say why they fail: where nothing was said, they were ended.
    """
    done = (out / TRAINING_FILE).is_file()
    if not done:  # children that were done all the same have left their result
        stop.check()
    failure = out / TRAINING_FAILURE_FILE
    if failure.is_file():
        said = json.loads(failure.read_text("utf-8"))
        kinds = {kind.__name__: kind for kind in (UserError, LineageError, RuntimeError)}
        raise kinds[said["kind"]](said["message"])
    if status < 0 or (status > 0 and launched):
        memory = ", as the kernel ends what takes too much memory" if status == -SIGKILL else ""
        how = Signals(-status).name if status < 0 else "a signal"
        raise UserError(
            f"the training process was ended by {how}{memory}: run the same "
            "command again, and it resumes from the last checkpoint where training keeps any"
        )
    if status != 0 or not done:
        raise RuntimeError(f"the training process ended with status {status}")
    report: dict[str, Any] = json.loads((out / TRAINING_FILE).read_text("utf-8"))
    return report


def _waited_for(child: subprocess.Popen[bytes], stop: StopRequest) -> int:
    """Return the child's status; pass a request to stop on to it."""
    told = False
    while True:
        try:
            return child.wait(POLL_SECONDS)
        except subprocess.TimeoutExpired:
            if stop.requested and not told:
                child.send_signal(SIGTERM)
                told = True
