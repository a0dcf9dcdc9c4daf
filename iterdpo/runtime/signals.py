"""SIGTERM and SIGINT: finish what is in hand, leave the rest for the next try."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopped(BaseException):
    """The run was asked to stop and has reached a place where nothing is lost by it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    @property
    def exit_status(self) -> int:
        """128 and the signal's number, as shells have it: 143 for SIGTERM, 130 for SIGINT."""
        return 128 + self.number

    def __str__(self) -> str:
        return f"stopped by {signal.Signals(self.number).name}"


class StopRequest:
    """Whether a signal has asked the run to stop."""

    def __init__(self) -> None:
        self.number: int | None = None

    @property
    def requested(self) -> bool:
        """Whether the run is to stop."""
        return self.number is not None

    def check(self) -> None:
        """Raise ``Stopped`` if so. To be called where nothing is lost by it."""
        if self.number is not None:
            raise Stopped(self.number)


@contextmanager
def heard(request: StopRequest, quiet: bool = False) -> Iterator[None]:
    """Listen to the two signals for the block.

    The first is noted, and the run stops when what it has in hand is written down. A second one
    ends the process at once: what was written down is complete in any case. With ``quiet``, for
    children, nothing is said.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread hears signals
        return

    def note(number: int, _: FrameType | None) -> None:
        if request.number is not None:
            os._exit(128 + number)
        request.number = number
        name = signal.Signals(number).name
        if not quiet:
            sys.stderr.write(f"\n{name}: finishing what is in hand; once more stops at once\n")

    kept = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
