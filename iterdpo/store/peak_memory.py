"""The most memory that is used while a block runs."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

PAUSE_SECONDS = 0.5


class PeakMemory:
    """The most memory seen so far, in bytes."""

    def __init__(self) -> None:
        self.ram = 0
        """Resident memory of this process and of those it started; what they share counts each
        time. It is looked at twice a second: a shorter peak may be missed.
        """
        self.gpu: int | None = None
        """What PyTorch reserved on all GPUs in this process, exactly; None where it used none."""

    def as_json(self) -> dict[str, int | None]:
        """Return both, as a stage's manifest holds them."""
        return {"ram": self.ram, "gpu": self.gpu}


@contextmanager
def memory_watched() -> Iterator[PeakMemory]:
    """Watch the memory from the block's begin to its end; the peak is whole after it.

    On GPUs PyTorch's own peak is reset at the begin, so blocks must not lie within each other.
    """
    peak, over = PeakMemory(), threading.Event()
    cuda = _cuda()
    if cuda:
        for device in range(cuda.device_count()):
            cuda.reset_peak_memory_stats(device)

    def watch() -> None:
        while True:
            peak.ram = max(peak.ram, resident_bytes())
            if over.wait(PAUSE_SECONDS):
                return

    watcher = threading.Thread(target=watch, name="memory", daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        over.set()
        watcher.join()
        peak.ram = max(peak.ram, resident_bytes())
        if cuda := _cuda():
            devices = range(cuda.device_count())
            peak.gpu = sum(cuda.max_memory_reserved(device) for device in devices)


def resident_bytes() -> int:
    """Return the resident memory of this process and of all that it started, in bytes."""
    import psutil

    me = psutil.Process()
    total = int(me.memory_info().rss)
    for process in me.children(recursive=True):
        try:
            total += int(process.memory_info().rss)
        except psutil.Error:  # it has ended in between, or runs as another user
            continue
    return total


def highest(
    one: Mapping[str, int | None], other: Mapping[str, int | None]
) -> dict[str, int | None]:
    """Return the higher of two peaks, by name; one that is not known does not count."""
    both = {}
    for name in {**one, **other}:
        known = [value for value in (one.get(name), other.get(name)) if value is not None]
        both[name] = max(known, default=None)
    return both


def _cuda() -> Any:
    """Return ``torch.cuda`` where it is in use already: to look must not begin to use it."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_initialized() else None
