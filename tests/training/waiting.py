"""Children that train and wait at a place for what a test does to them there."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from iterdpo.runtime.signals import StopRequest

AFTER_A_CHECKPOINT = """
import sys, threading
from iterdpo.training import __main__
from iterdpo.training.checkpoints import Checkpoints
write = Checkpoints.write
def write_and_wait(self, *args):
    write(self, *args)
    threading.Event().wait()
Checkpoints.write = write_and_wait
sys.exit(__main__.start(*sys.argv[1:]))
"""
"""Code of a child that trains to its first checkpoint and no further."""

IN_STEP_THREE = """
import sys, time
from pathlib import Path
from iterdpo.training import __main__
train = __main__.train_here
def train_here(spec, out, description, stop):
    from iterdpo.runtime.progress import Bar
    update = Bar.update
    def wait(bar, done, total=None):
        update(bar, done, total)
        if done == 3:
            Path(out, "waits").touch()
            while not stop.requested:
                time.sleep(0.01)
            Path(out, "waits").unlink()
    Bar.update = wait
    return train(spec, out, description, stop)
__main__.train_here = train_here
sys.exit(__main__.start(*sys.argv[1:]))
"""
"""Code of a child that leaves the file ``waits`` and waits for a request to stop in step 3."""


class RequestInStepThree(StopRequest):
    """Is there when the child whose result goes to ``out`` waits for it, and from then on."""

    def __init__(self, out: Path) -> None:
        self._sign = out / "waits"
        self._number: int | None = None
        super().__init__()

    @property
    def number(self) -> int | None:
        if self._sign.exists():
            self._number = signal.SIGTERM
        return self._number

    @number.setter
    def number(self, value: int | None) -> None:
        self._number = value


def running(code: str, started: list[subprocess.Popen[bytes]]) -> type[subprocess.Popen[bytes]]:
    """Return what stands in for ``Popen`` and runs a training's child by ``code``.

    Args:
        code: of the child, in the place of ``iterdpo.training``.
        started: to which the children are added.
    """

    class Child(subprocess.Popen[bytes]):
        def __init__(self, command: Any, **kwargs: Any) -> None:
            assert command[1:3] == ["-m", "iterdpo.training"]
            assert kwargs["stdin"] == subprocess.PIPE  # which tells the child that we live
            super().__init__([sys.executable, "-c", code, *command[3:]], **kwargs)
            started.append(self)

    return Child
