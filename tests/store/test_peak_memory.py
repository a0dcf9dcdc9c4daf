"""What a block of code uses at most, told while and after it runs."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable
from typing import Any

import pytest

from iterdpo.store import peak_memory as peak
from iterdpo.store.peak_memory import highest, memory_watched, resident_bytes

MIB = 2**20


def filled(size: int) -> bytearray:
    """Memory that is written to, as only such memory is resident."""
    return bytearray(b"x") * size


def until(holds: Callable[[], object]) -> None:
    while not holds():
        time.sleep(0.01)


def test_memory_that_is_given_back_within_the_block_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peak, "PAUSE_SECONDS", 0.01)
    before = resident_bytes()
    with memory_watched() as seen:
        held = filled(256 * MIB)
        until(lambda: seen.ram >= before + 200 * MIB)
        del held
    assert resident_bytes() < before + 100 * MIB
    assert seen.ram >= before + 200 * MIB


def test_what_the_block_left_is_seen_however_short_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peak, "PAUSE_SECONDS", 3600)
    before = resident_bytes()
    with memory_watched() as seen:
        until(lambda: seen.ram)  # the first look is over
        held = filled(256 * MIB)
    assert seen.ram >= before + 200 * MIB
    assert len(held)


def test_processes_that_it_started_count() -> None:
    code = "held = bytearray(b'x') * 2**28; print(); input()"
    before = resident_bytes()
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        during = resident_bytes()
        child.communicate(b"\n")
    assert during - before > 200 * MIB
    assert resident_bytes() < before + 100 * MIB


def test_the_watcher_ends_with_a_block_that_fails() -> None:
    def watchers() -> Any:
        return [thread for thread in threading.enumerate() if thread.name == "memory"]

    def fail() -> None:
        assert watchers()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), memory_watched():
        fail()
    assert not watchers()


class Gpus:
    """Two GPUs by the calls that are made of ``torch.cuda``."""

    def __init__(self) -> None:
        self.reserved, self.initialized = [700, 5], True

    def is_initialized(self) -> Any:
        return self.initialized

    def device_count(self) -> Any:
        return 2

    def reset_peak_memory_stats(self, device: Any) -> None:
        self.reserved[device] = 0

    def max_memory_reserved(self, device: Any) -> Any:
        return self.reserved[device]


def test_gpus_count_from_the_blocks_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = Gpus()
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(cuda=gpus))
    with memory_watched() as seen:
        assert gpus.reserved == [0, 0]
        gpus.reserved[:] = [300, 40]
    assert seen.as_json() == {"ram": seen.ram, "gpu": 340}


def test_a_gpu_that_nobody_uses_stays_unused(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = Gpus()
    gpus.initialized = False
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(cuda=gpus))
    with memory_watched() as seen:
        pass
    assert seen.gpu is None
    assert gpus.reserved == [700, 5]


def test_the_higher_of_two() -> None:
    assert highest({}, {"ram": 3, "gpu": None}) == {"ram": 3, "gpu": None}
    assert highest({"ram": 5, "gpu": None}, {"ram": 3, "gpu": 2}) == {"ram": 5, "gpu": 2}
