"""SIGTERM and SIGINT: finish what is in hand, leave the rest for the next try."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import FrameType

from iterdpo.runtime.terminal import say

SIGNALS = (signal.SIGTERM, signal.SIGINT)
LOOKED_EVERY = 0.5
"""Seconds between two looks of a worker at whether its parent is there."""


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
    """Whether the run is to stop: a signal said so, or the parent of this worker is gone."""

    def __init__(self) -> None:
        self.number: int | None = None
        self.at_work = threading.RLock()
        """Held while the process does what a signal must not cut short."""
        self.raises = False
        """Whether a signal stops the run where it is, not at its next check."""
        self._parent: int | None = None
        if parent := multiprocessing.parent_process():
            import psutil

            # It may be gone before this process looks. A fork server stands between the two.
            self._parent = os.getppid() if psutil.pid_exists(parent.pid or 0) else 0

    @property
    def of_worker(self) -> bool:
        """Whether this process is one of several that a parent started, as a sweep's are."""
        return self._parent is not None

    @property
    def orphaned(self) -> bool:
        """Whether this is a worker whose parent is gone: nobody waits for its result."""
        return self.of_worker and self._parent != os.getppid()

    @property
    def requested(self) -> bool:
        """Whether the run is to stop."""
        if self.number is None and self.orphaned:
            self.number = signal.SIGTERM
        return self.number is not None

    def end_with_parent(self) -> None:
        """End this worker when its parent is gone and it has nothing in hand.

        One that waits for its next job would not notice, and keep its memory for minutes.
        """
        while not self.orphaned:
            time.sleep(LOOKED_EVERY)
        with self.at_work:
            os._exit(128 + signal.SIGTERM)

    def check(self) -> None:
        """Raise ``Stopped`` if so. To be called where nothing is lost by it."""
        if self.requested:
            raise Stopped(self.number or signal.SIGTERM)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Stop anywhere in the block: it may take minutes, and nothing in it is worth finishing.

        Raises:
            Stopped: a signal came before or in the block, even if the block hides that, or failed
                because of it.
        """
        self.check()
        self.raises = True
        try:
            yield
        finally:
            self.raises = False
            self.check()


@cache
def process_request() -> StopRequest:
    """Return the one of this process: a signal is for all that it does, one after the other."""
    request = StopRequest()
    if request.of_worker:
        threading.Thread(target=request.end_with_parent, daemon=True).start()
    return request


@contextmanager
def heard(request: StopRequest, quiet: bool = False, pass_on: bool = False) -> Iterator[None]:
    """Listen to the two signals for the block.

    The first is noted, and the run stops when what it has in hand is written down. A second one
    ends the process at once: what was written down is complete in any case. A worker leaves that to
    its parent, because a terminal and the parent both send it what is one signal, and it listens
    on: a signal between two jobs must not look like a fault to its parent, which ends all then.

    Args:
        request: where it is noted.
        quiet: say nothing, for children.
        pass_on: to the workers that this process started, which a second signal kills.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread hears signals
        return

    def note(number: int, _: FrameType | None) -> None:
        workers = multiprocessing.active_children() if pass_on else []
        if request.number is not None:
            if request.of_worker:
                return
            for worker in workers:
                worker.kill()
            os._exit(128 + number)
        request.number = number
        for worker in workers:
            if worker.pid is not None:
                os.kill(worker.pid, number)
        if request.raises:
            raise Stopped(number)
        if not quiet:
            name = signal.Signals(number).name
            say(f"\n{name}: finishing what is in hand; once more stops at once")

    kept = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        with request.at_work:
            yield
    finally:
        for number, handler in ({} if request.of_worker else kept).items():
            signal.signal(number, handler)
