"""A child that trains, alone or of several: ``python -m iterdpo.training SPEC OUT NAME``."""

from __future__ import annotations

import json
import os
import signal
import stat
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from iterdpo.errors import LineageError, UserError
from iterdpo.runtime.quiet import quiet_libraries
from iterdpo.runtime.signals import Stopped, StopRequest, heard
from iterdpo.store.atomic import write_text
from iterdpo.training.distributed import joined
from iterdpo.training.launch import TRAINING_FAILURE_FILE
from iterdpo.training.run import train_here
from iterdpo.training.spec import read_spec


def main(spec_file: str, out: str, description: str, stop: StopRequest | None = None) -> int:
    """Train and return the exit status; an expected failure is left in the failure file."""
    stop = stop or StopRequest()
    try:
        with heard(stop, quiet=True), joined(os.environ):
            quiet_libraries()
            # Within the group: the others notice who leaves it, and would say so first.
            with _failure_left(Path(out)):
                train_here(read_spec(Path(spec_file)), Path(out), description, stop)
    except Stopped as stopped:
        return stopped.exit_status
    except (UserError, LineageError):
        return 1
    return 0


def one_of_several(spec_file: str, out: str, description: str, stop: StopRequest) -> int:
    """Train as ``main``, so that a launcher sees no failure: it would end the others as it likes.

    Who fails says why and waits until the parent, which looks for that, ends all processes. Who is
    stopped is done: the others stop after the same step.
    """
    try:
        status = main(spec_file, out, description, stop)
    except Exception as error:
        traceback.print_exc()
        _leave(Path(out), error)
        status = 1
    if status == 1:
        threading.Event().wait()
    return 0


@contextmanager
def _failure_left(out: Path) -> Iterator[None]:
    """Write down what the block fails with."""
    try:
        yield
    except Stopped:
        raise
    except Exception as error:
        _leave(out, error)
        raise


def _leave(out: Path, error: Exception) -> None:
    """Write down why training failed, if no other process has: its failure was the first."""
    failure = out / TRAINING_FAILURE_FILE
    if not failure.exists():
        kind, message = type(error).__name__, str(error)
        if isinstance(error, LineageError):
            kind = "LineageError"
        elif isinstance(error, UserError):
            kind = "UserError"
        else:
            kind, message = "RuntimeError", f"{kind}: {message}"
        write_text(failure, json.dumps({"kind": kind, "message": message}) + "\n")


def _listen_to_parent(stop: StopRequest, status: int) -> bool:
    """Do what the parent asks for, and say whether there is one that could.

    A child ends when the process that waits for it is gone, however that ended: it would hold the
    GPU's memory and write checkpoints beside the training that follows it. The parent holds the
    other end of a pipe that is this process's input. What it writes is a request to stop.
    """
    if not stat.S_ISFIFO(os.fstat(0).st_mode):
        return False

    def listen() -> None:
        while os.read(0, 1):
            stop.number = signal.SIGTERM
        os._exit(status)

    threading.Thread(target=listen, daemon=True).start()
    return True


def start(spec_file: str, out: str, description: str) -> int:
    """Train as the child that this process was started as, and return the exit status."""
    stop, several = StopRequest(), "WORLD_SIZE" in os.environ
    heeded = _listen_to_parent(stop, 0 if several else 1)
    run = one_of_several if several and heeded else main
    return run(spec_file, out, description, stop)


if __name__ == "__main__":
    sys.exit(start(*sys.argv[1:]))
