"""What may happen to a sweep: it is killed or stopped, with its jobs in turn or side by side.

The same command again must come to what an undisturbed sweep comes to, and no process is left.
"""

from __future__ import annotations

import atexit
import os
import random
import re
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from experiments.torture_child import data_files, forked
from tests.loop.sizes import SMALL
from tests.processes import started_with

JOBS = (
    "training.beta=0.1,0.3", "iterations=1", "pairs.k=1", "candidates.n=2", *SMALL
)  # fmt: skip
LAUNCHERS = {
    "basic": ("hydra/launcher=basic",),
    "joblib": ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2"),
}
MARK = "TORTURED_SWEEP"


def sweep(command: Sequence[str], mark: str) -> None:
    """Be the command, whose children can be found by the mark in their environment."""
    from iterdpo.cli.run import run

    os.environ[MARK] = mark
    sys.argv = list(command)
    status: Any = 0
    try:
        run()
    except SystemExit as ended:
        status = ended.code
    # A fork ends without what a program does at its end, and a pool's workers wait for that.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(status if isinstance(status, int) else 1)


@dataclass
class Sweeps:
    """What an undisturbed sweep comes to, and the ways to disturb one."""

    scratch: Path
    overrides: Sequence[str]
    rng: random.Random
    failures: list[str]
    command: Callable[[Sequence[str], str], None] = sweep
    """Is the command in a fork: its words, and the mark of the processes that it starts."""
    ends_within: float = 120.0
    """Seconds that processes whose parent is gone have for what they have in hand."""

    def __post_init__(self) -> None:
        self.place, self.said = self.scratch / "sweep", self.scratch / "sweep.txt"
        self.kinds = (
            self.kill_basic_sweep, self.stop_basic_sweep, self.kill_joblib_sweep,
            self.stop_joblib_sweep,
        )  # fmt: skip
        self._expected: Any = None
        self._seconds = {}
        for name, launcher in LAUNCHERS.items():
            began = time.monotonic()
            status = self._wait(self._start(launcher))
            self._seconds[name] = time.monotonic() - began
            found = self._results(status)
            self._expected = self._expected or found
            self._require_expected(found, f"an undisturbed {name} sweep")

    def kill_basic_sweep(self) -> None:
        """Kill a sweep that runs one job after the other."""
        self._disturb("basic", signal.SIGKILL)

    def stop_basic_sweep(self) -> None:
        """Stop it by a signal that it hears."""
        self._disturb("basic", signal.SIGTERM)

    def kill_joblib_sweep(self) -> None:
        """Kill the parent of jobs that run side by side."""
        self._disturb("joblib", signal.SIGKILL)

    def stop_joblib_sweep(self) -> None:
        """Stop it by a signal that is for all of them."""
        self._disturb("joblib", signal.SIGTERM)

    def _disturb(self, name: str, number: signal.Signals) -> None:
        """Send a signal to the parent at a random instant, then give the same command again."""
        parent = self._start(LAUNCHERS[name])
        after = self.rng.uniform(0.0, self._seconds[name])
        what = f"{name} sweep, {number.name} after {after:.1f} s"
        time.sleep(after)
        os.kill(parent, number)
        status = self._wait(parent)
        # A signal may come before the sweep listens, or when it has ended.
        if status not in (0, -number, 128 + number):
            self.failures.append(f"{what}: status {status}: {self.said.read_text('utf-8')}")
        if status == 128 + number and "run the same command again" not in self.said.read_text():
            self.failures.append(f"{what}: does not say how it resumes")
        if self.left():
            self.failures.append(f"{what}: left processes {self.left()}")
        status = self._wait(self._start(LAUNCHERS[name]))
        self._require_expected(self._results(status), what)

    def _start(self, launcher: Sequence[str]) -> int:
        command = [
            "iterdpo", "-m", *self.overrides, *JOBS, *launcher, "engine.threads=1",
            f"store.root={self.place / 'store'}", f"hydra.sweep.dir={self.place / 'runs'}",
        ]  # fmt: skip
        self.said.write_text("")
        return forked(partial(self.command, command, str(self.place)), self.said)

    def _wait(self, parent: int) -> int:
        """Return the status of a sweep when all its processes have ended, or have had the time."""
        status = os.waitstatus_to_exitcode(os.waitpid(parent, 0)[1])
        until = time.monotonic() + self.ends_within
        while self.left() and time.monotonic() < until:
            time.sleep(0.1)
        return status

    def left(self) -> set[int]:
        return started_with(f"{MARK}={self.place}")

    def _results(self, status: int) -> Any:
        """Return all that a sweep came to, and remove it."""
        from iterdpo.evaluation.summary_file import read_summary

        said, runs = self.said.read_text("utf-8"), self.place / "runs"
        table = re.search(r"^job +overrides .*", said, flags=re.MULTILINE | re.DOTALL)
        found = {
            "status": status,
            "left": self.left(),
            "tracebacks": said.count("Traceback"),
            "table": table.group() if table else said,
            "failed": [str(path) for path in runs.rglob("failure.json")],
            "unfinished": [str(path) for path in self.place.glob("store/*/.work-*")],
            "models": {
                path.parent.name: read_summary(path.parent).models
                for path in sorted(runs.glob("*/summary.json"))
            },
            "data": data_files(self.place / "store"),
        }
        shutil.rmtree(self.place)
        return found

    def _require_expected(self, found: Any, after: str) -> None:
        other = {name: value for name, value in found.items() if value != self._expected[name]}
        if other:
            self.failures.append(f"{after}: {other}")
