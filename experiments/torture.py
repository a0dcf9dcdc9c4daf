"""Kill a run again and again, at random times and at every named write point: ``make torture``.

Each time the same run is started again. In the end its data must be byte-equal and its adapters
bit-equal to those of a run that nobody disturbed, and what was computed twice must stay below one
part a kill. Then the finished run is started again, cleared up beside, exported and damaged
(``torture_finished``). Processes are forked from one that has loaded the libraries, so that a start
takes a moment and a kill usually hits work.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from experiments.torture_child import (
    Child,
    configuration,
    counts,
    data_files,
    ended,
    forked,
    preload,
)
from experiments.torture_finished import FinishedRun
from experiments.torture_sweeps import Sweeps
from iterdpo.config.schema import Config
from tests.tools.hub.standin import standing_in

OVERRIDES = (
    "experiment=smoke",
    "iterations=2",
    "tracking=none",
    "report=false",
    "engine.device=cpu",
    "engine.shard_rows=24",
    "engine.transformers.batch_size=24",
)


@dataclass
class Torture:
    """One undisturbed run, and what is compared with it."""

    scratch: Path
    configure: Callable[[Path], Config]
    """Makes the configuration of a run whose store is ``store`` in a directory."""
    engine: Callable[[Config], Any] | None = None
    """What makes the engine, where it is not the configured one."""
    kills: int = 0
    repeated: Counter[str] = field(default_factory=Counter)
    """Work beyond what the undisturbed run needed."""
    failures: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.errors = self.scratch / "errors.txt"
        began = time.monotonic()
        self.undisturbed = child = self._child("undisturbed")
        if not ended(child, self.errors):
            raise SystemExit(f"the undisturbed run failed:\n{self.errors.read_text()}")
        self.seconds = time.monotonic() - began
        self.expected = data_files(child.config.store.root)
        self.work = counts(child.log)
        self.points = [what[3:] for what in self.work if what.startswith("at ")]

    def at_random(self, kills: int, rng: random.Random) -> None:
        """Kill at random times, starting over with an empty store whenever a run gets through."""
        while self.kills < kills:
            child = self._child(f"random-{self.kills}")
            before = self.kills
            while self.kills < kills:
                process = forked(child, self.errors)
                time.sleep(rng.uniform(0.0, min(4.0, self.seconds)))
                os.kill(process, signal.SIGKILL)
                _, status = os.waitpid(process, 0)
                if not os.WIFSIGNALED(status):
                    break
                self.kills += 1
            self._finish(child, self.kills - before)

    def at_points(self) -> None:
        """Kill once before each write that has a name of its own, in the order they first come."""
        child, before = self._child("points"), self.kills
        for point in self.points:
            _, status = os.waitpid(forked(partial(child, point), self.errors), 0)
            if os.WIFSIGNALED(status):
                self.kills += 1
                continue
            # The run got through: this write does not come again in what was left of it.
            self._finish(child, self.kills - before)
            child, before = self._child(f"points-{self.kills}"), self.kills
            _, status = os.waitpid(forked(partial(child, point), self.errors), 0)
            if not os.WIFSIGNALED(status):
                self.failures.append(f"no write was named {point!r} in a fresh run")
            else:
                self.kills += 1
        self._finish(child, self.kills - before)

    def _finish(self, child: Child, kills: int) -> None:
        if not ended(child, self.errors):
            self.failures.append(f"after {kills} kills the run did not end: {self.errors}")
            return
        if data_files(child.config.store.root) != self.expected:
            self.failures.append(f"{child.config.store.root}: other data after {kills} kills")
            return
        left = [str(p) for p in child.config.store.root.glob("*/.work-*")]
        if left:
            self.failures.append(f"left behind: {left}")
        done = counts(child.log)
        for what in ("tokens", "judgments", "steps"):
            self.repeated[what] += done[what] - self.work[what]
        shutil.rmtree(child.run_dir.parent)

    def _child(self, name: str) -> Child:
        place = self.scratch / name
        place.mkdir()
        return Child(self.configure(place), place / "run", place / "log.txt", self.engine)


def endure(
    kinds: Sequence[Callable[[], None]], number: int, events: Counter[str], failures: list[str]
) -> None:
    """Let so many events happen, each kind in turn, until one does harm."""
    for event in islice(cycle(kinds), number):
        if failures:
            return
        event()
        events[event.__name__] += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=100, help="at random times (%(default)s)")
    parser.add_argument("--events", type=int, default=120, help="of the finished run (%(default)s)")
    parser.add_argument("--sweeps", type=int, default=40, help="that are ended (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--points", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("overrides", nargs="*", help="of the run, such as iterations=3")
    options = parser.parse_args()
    preload()
    scratch, rng = Path(tempfile.mkdtemp(prefix="iterdpo-torture-")), random.Random(options.seed)
    overrides = [*OVERRIDES, *options.overrides]
    torture = Torture(scratch, partial(configuration, overrides))
    print(f"undisturbed: {torture.seconds:.0f} s, {len(torture.points)} named writes", flush=True)
    if options.points:
        torture.at_points()
        print(f"{torture.kills} kills at named writes: {dict(torture.repeated)} again", flush=True)
    torture.at_random(torture.kills + options.kills, rng)
    print(f"{torture.kills} kills: {dict(torture.repeated)} again", flush=True)
    events: Counter[str] = Counter()
    with standing_in() as hub:
        finished = FinishedRun(
            torture.undisturbed, torture.errors, rng, torture.failures, events, hub
        )
        endure(finished.kinds, options.events, events, torture.failures)
    if options.sweeps:
        print(f"of the finished run: {dict(events)}", flush=True)
        sweeps = Sweeps(scratch, overrides, rng, torture.failures)
        endure(sweeps.kinds, options.sweeps, events, torture.failures)
    report = {"kills": torture.kills, "work": {w: torture.work[w] for w in torture.repeated}}
    report |= {"repeated": dict(torture.repeated), "events": dict(events)}
    report["failures"] = torture.failures
    print(json.dumps(report, indent=1))
    if torture.failures:
        sys.exit(f"see {scratch}")
    shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
