"""Meters for a benchmark: memory on the card, the time of each optimizer step, room on the disk."""

from __future__ import annotations

import gc
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from unittest.mock import patch

from iterdpo.errors import UserError
from iterdpo.models.memory import GIB
from iterdpo.runtime import progress


class Peak:
    """The most memory in use on the card, by whatever process, as long as it is watched."""

    def __init__(self, cuda: bool) -> None:
        self.bytes: int | None = 0 if cuda else None
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Peak:
        if self.bytes is not None:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        if self.bytes is not None:
            self._thread.join()

    def _watch(self) -> None:
        import torch

        while not self._end.wait(0.05):
            free, total = torch.cuda.mem_get_info()
            self.bytes = max(self.bytes or 0, total - free)


@contextmanager
def step_times() -> Iterator[list[float]]:
    """Yield a list that gets the time at which each optimizer step ends."""
    times: list[float] = []
    update = progress.Bar.update

    def noted(bar: progress.Bar, done: int, total: int | None = None) -> None:
        times.append(time.perf_counter())
        update(bar, done, total)

    with patch.object(progress.Bar, "update", noted):
        yield times


def own_memory(*, reset: bool = False) -> int:
    """Return the bytes of this process's tensors on the card: the most so far, or from now on."""
    import torch

    if not torch.cuda.is_available():
        return 0
    if reset:
        torch.cuda.reset_peak_memory_stats()
        return int(torch.cuda.memory_allocated())
    return int(torch.cuda.max_memory_allocated())


def cpu_peak(call: Callable[[], object]) -> int:
    """Return the most bytes that PyTorch held on the CPU during a call, beyond those before it."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        call()
    events = [event for event in profiled.profiler.kineto_results.events() if event.nbytes()]
    changes = (event.nbytes() for event in sorted(events, key=lambda event: event.start_ns()))
    return max(accumulate(changes), default=0)


def free_memory() -> None:
    """Give back what this process holds on the card and does not use."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def require_disk_space(directory: Path, needed: int) -> None:
    """Refuse a directory on a disk with less than ``needed`` bytes free.

    Raises:
        UserError: saying how much is needed.
    """
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise UserError(
            f"--scratch {directory}: {needed / GIB:.0f} GiB are needed and {free / GIB:.0f} GiB "
            "free; name another directory"
        )
