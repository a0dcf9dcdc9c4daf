"""Processes bound to a run, as vLLM's are: started by it, and by one that it started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.processes import is_running, started_with

_RUN = """
import multiprocessing, os, signal, sys, threading
from pathlib import Path
from iterdpo.engines.vllm_worker import RUN, BoundToRun

class Base:
    def __init__(self, place):
        place.with_name(f"{place.name}-{os.getpid()}").touch()

class Worker(Base):
    pass

def work(place, inner):
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(7))  # as vLLM's processes answer both
    Worker.__bases__ += (BoundToRun,)  # as vLLM does it
    if inner:
        Worker(place)
    else:
        child = multiprocessing.get_context("spawn").Process(target=work, args=(place, True))
        child.start()
        Worker(place)
    threading.Event().wait()

if __name__ == "__main__":
    os.environ[RUN] = str(os.getpid())
    place = Path(sys.argv[1]) / "bound"
    # From a thread that ends, as a notebook's may: that is not the end of the run.
    child = multiprocessing.get_context("spawn").Process(target=work, args=(place, False))
    starter = threading.Thread(target=child.start)
    starter.start()
    starter.join()
    threading.Event().wait()
"""


@contextmanager
def bound(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], set[int]]]:
    """A run, and the two processes bound to it."""
    script = tmp_path / "run.py"
    script.write_text(_RUN)
    with subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)], text=True, start_new_session=True,
        env=os.environ | {"STARTED_BY": str(tmp_path)},
    ) as run:  # fmt: skip
        while len(found := list(tmp_path.glob("bound-*"))) < 2 and run.poll() is None:
            time.sleep(0.02)
        try:
            yield run, {int(place.name.partition("-")[2]) for place in found}
        finally:
            run.kill()


def test_they_end_with_a_run_that_is_killed_though_who_started_them_lives(tmp_path: Path) -> None:
    with bound(tmp_path) as (run, pids):
        assert len(pids) == 2
        assert all(is_running(pid) for pid in pids)
        run.kill()
        until = time.monotonic() + 60
        while started_with(f"STARTED_BY={tmp_path}") and time.monotonic() < until:
            time.sleep(0.05)
        # The run has not been waited for: what is left of it must not look like the run.
        assert started_with(f"STARTED_BY={tmp_path}") == set()
        assert not any(is_running(pid) for pid in pids)


def test_a_terminals_ctrl_c_is_the_runs_alone(tmp_path: Path) -> None:
    with bound(tmp_path) as (run, pids):
        for pid in pids:
            os.kill(pid, signal.SIGINT)
        parents = {pid: _parent(pid) for pid in pids}
        (engine,) = (pid for pid in pids if parents[pid] == run.pid)
        (worker,) = pids - {engine}
        os.kill(worker, signal.SIGTERM)  # to all of a job's processes; the engine ends its workers
        assert _ignored(worker, signal.SIGTERM)
        assert not _ignored(engine, signal.SIGTERM)
        assert all(_ignored(pid, signal.SIGINT) for pid in pids)
        assert all(is_running(pid) for pid in pids)
        os.kill(engine, signal.SIGTERM)
        while is_running(engine):
            time.sleep(0.02)


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _ignored(pid: int, number: signal.Signals) -> bool:
    """Say whether the process ignores a signal, as the kernel has it."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (mask,) = (line.split()[1] for line in lines if line.startswith("SigIgn:"))
    return bool(int(mask, 16) >> (number - 1) & 1)


def test_a_model_in_the_runs_own_process_binds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from iterdpo.engines.vllm_worker import RUN, BoundToRun

    monkeypatch.setenv(RUN, str(os.getpid()))
    before = signal.getsignal(signal.SIGINT)
    assert isinstance(BoundToRun("any", argument=1), BoundToRun)
    assert signal.getsignal(signal.SIGINT) is before
