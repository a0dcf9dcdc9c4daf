"""Kill a run again and again, at random times and at every named write point: ``make torture``.

Each time the same run is started again. In the end its data must be byte-equal and its adapters
bit-equal to those of a run that nobody disturbed, and what was computed twice must stay below one
part a kill. Processes are forked from one that has loaded the libraries, so that a start takes a
moment and a kill usually hits work.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir

from iterdpo.config.compose import conf_directory, typed
from iterdpo.config.schema import Config
from iterdpo.store.hashing import file_sha256

OVERRIDES = (
    "experiment=smoke",
    "iterations=2",
    "tracking=none",
    "report=false",
    "engine.device=cpu",
)
SMALL_SHARDS = ("engine.shard_rows=24", "engine.transformers.batch_size=24")
WRITES = ("fsync", "replace", "rename")


def configuration(store: Path, overrides: Sequence[str]) -> Config:
    """Return the run that is tortured."""
    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        return typed(compose("config", overrides=[*overrides, f"store.root={store}"]))


def data_files(store: Path) -> dict[str, str]:
    """Return the hash of every file of every finished stage but the manifests, which hold times."""
    return {
        path.relative_to(store).as_posix(): file_sha256(path)
        for path in sorted(store.glob("[!.]*/[!.]*/**/*"))
        if path.is_file() and path.name != "stage.json"
    }


def point_of(operation: str, path: Path, store: Path) -> str:
    """Name a write by what it makes: ``candidates shard replace``, ``adapter stage rename``."""
    try:
        parts = path.resolve().relative_to(store.resolve()).parts
    except ValueError:
        return f"run {path.suffix or 'directory'} {operation}"
    if len(parts) < 2 or parts[0].startswith("."):
        return f"{parts[0] if parts else 'store'} {operation}"
    inside = "/".join(parts[1:])
    kind = "shard" if "/shards" in inside else "kept" if ".work-" in inside else "stage"
    return f"{parts[0]} {kind} {operation}"


@dataclass
class Child:
    """What runs in a forked process, and the traces it leaves."""

    config: Config
    run_dir: Path
    log: Path

    def __call__(self, kill_at: str | None = None) -> None:
        """Run to the end, or to the first write with this name."""
        from iterdpo.assemble import make_engine
        from iterdpo.cli import execute as run
        from iterdpo.runtime.progress import Bar

        note = Notes(self.log)
        watch_writes(self.config.store.root, note, kill_at)
        shown = Bar.update

        def update(bar: Bar, done: int, total: int | None = None) -> None:
            if bar._unit == "step":
                note("steps", 1)
            shown(bar, done, total)

        Bar.update = update  # type: ignore[method-assign, assignment]
        run.execute(self.config, self.run_dir, Counted(make_engine(self.config), note))


class Notes:
    """Counts that survive the process that made them: one line each, appended at once."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def __call__(self, what: str, amount: int) -> None:
        os.write(self._file, f"{amount} {what}\n".encode())


class Counted:
    """An engine that notes what it computes."""

    def __init__(self, engine: Any, note: Notes) -> None:
        self._engine, self._note = engine, note

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def generate(self, *args: Any) -> Iterator[Any]:
        for answer in self._engine.generate(*args):
            self._note("tokens", len(answer.token_ids))
            yield answer

    def choice_logprobs(self, *args: Any) -> Iterator[Any]:
        for answer in self._engine.choice_logprobs(*args):
            self._note("judgments", 1)
            yield answer


def watch_writes(store: Path, note: Notes, kill_at: str | None) -> None:
    """Name every write of this process, and die before the one that is called ``kill_at``."""
    for operation in WRITES:
        original = getattr(os, operation)

        def write(
            target: Any, *args: Any, original: Any = original, operation: str = operation, **kw: Any
        ) -> Any:
            path = args[0] if args else Path(f"/proc/self/fd/{target}").readlink()
            name = point_of(operation, Path(path), store)
            note(f"at {name}", 1)
            if name == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(target, *args, **kw)

        setattr(os, operation, write)


def forked(call: Callable[[], None], errors: Path) -> int:
    """Run ``call`` in a child and return its process id."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        with errors.open("a") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        call()
        status = 0
    finally:
        os._exit(status)


def counts(log: Path) -> Counter[str]:
    """Return the sums of everything noted."""
    totals: Counter[str] = Counter()
    for line in log.read_text("utf-8").splitlines() if log.is_file() else ():
        amount, what = line.split(" ", 1)
        totals[what] += int(amount)
    return totals


@dataclass
class Torture:
    """One undisturbed run, and what is compared with it."""

    scratch: Path
    overrides: Sequence[str]
    kills: int = 0
    repeated: Counter[str] = field(default_factory=Counter)
    """Work beyond what the undisturbed run needed."""
    failures: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.errors = self.scratch / "errors.txt"
        began = time.monotonic()
        child = self._child("undisturbed")
        _, status = os.waitpid(forked(child, self.errors), 0)
        if status:
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
                time.sleep(rng.uniform(0.1, 4.0))
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
        _, status = os.waitpid(forked(child, self.errors), 0)
        if status:
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
        config = configuration(place / "store", self.overrides)
        return Child(config, place / "run", place / "log.txt")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=200, help="at random times (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--points", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("overrides", nargs="*", help="of the run, such as iterations=3")
    options = parser.parse_args()
    preload()
    scratch = Path(tempfile.mkdtemp(prefix="iterdpo-torture-"))
    torture = Torture(scratch, [*OVERRIDES, *SMALL_SHARDS, *options.overrides])
    print(f"undisturbed: {torture.seconds:.0f} s, {len(torture.points)} named writes", flush=True)
    if options.points:
        torture.at_points()
        print(f"{torture.kills} kills at named writes: {dict(torture.repeated)} again", flush=True)
    torture.at_random(torture.kills + options.kills, random.Random(options.seed))
    report = {"kills": torture.kills, "work": {w: torture.work[w] for w in torture.repeated}}
    report |= {"repeated": dict(torture.repeated), "failures": torture.failures}
    print(json.dumps(report, indent=1))
    if torture.failures:
        sys.exit(f"see {scratch}")
    shutil.rmtree(scratch)


def preload() -> None:
    """Load the libraries once, without computing anything: threads do not survive a fork."""
    for name in ("torch", "peft", "trl", "iterdpo.training.dpo_trainer"):
        importlib.import_module(name)


if __name__ == "__main__":
    main()
