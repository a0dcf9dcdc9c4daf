"""What lies in a store: finished stages, unfinished work, leftovers, and the runs that use it.

Reading a store changes nothing in it and takes no lock. What another process removes meanwhile is
left out.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from iterdpo.errors import UserError
from iterdpo.store.atomic import PARTIAL_PREFIX
from iterdpo.store.identity import SHORT, Identity, Ref, parents
from iterdpo.store.manifest import MANIFEST, Manifest, ManifestError, read_manifest
from iterdpo.store.registry import RUNS_DIR
from iterdpo.store.run_roots import RunRoot, read_run_roots
from iterdpo.store.runner import LOCKS_DIR
from iterdpo.store.tables import RECORDS_FILE

WORK_PREFIX = ".work-"

_KEY = re.compile(r"[0-9a-f]{64}")
_WORK = re.compile(re.escape(WORK_PREFIX) + r"([0-9a-f]{64})")
_PARTIAL = re.compile(re.escape(PARTIAL_PREFIX) + r"(?:([0-9a-f]{12})-)?.*")
_DAMAGED = re.compile(r"([0-9a-f]{64})\.corrupt-\d+")
_SHARD = re.compile(r"\d{8}-(\d{8})\.[0-9a-f]{64}\.parquet")
_CHECKPOINT = re.compile(r"[0-9a-f]{12}-step-(\d{8})")


@dataclass(frozen=True, slots=True)
class Finished:
    """A finished stage."""

    ref: Ref
    directory: Path
    size: int
    """In bytes."""
    when: float
    """When it was finished, in seconds since the epoch: when its ``stage.json`` was written."""
    manifest: Manifest | None
    """None when it cannot be read; ``problem`` says why."""
    problem: str = ""

    @property
    def identity(self) -> Identity:
        return self.readable().identity

    def readable(self) -> Manifest:
        """Return the manifest.

        Raises:
            UserError: it cannot be read.
        """
        if self.manifest is None:
            raise UserError(f"{self.directory}: {self.problem}")
        return self.manifest

    def records(self) -> int | None:
        """Return how many records its table holds, from the file's end; None where it has none."""
        path = self.directory / RECORDS_FILE
        if not path.is_file():
            return None
        import pyarrow
        import pyarrow.parquet

        try:
            return int(pyarrow.parquet.read_metadata(path).num_rows)
        except (OSError, pyarrow.ArrowException):  # ``verify`` says what is wrong with it
            return None


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something in a store that is no finished stage."""

    kind: Literal["unfinished", "partial", "damaged"]
    """``unfinished``: kept for resuming. ``partial``: of a killed write. ``damaged``: set aside."""
    path: Path
    stage: str
    """Name of the stage; empty for what belongs to none."""
    key: str
    """Its key, the first 12 digits of it, or nothing where the name does not tell."""
    size: int
    """In bytes; that of unfinished work leaves out what was set aside in it."""
    when: float
    """When something in it was last written, in seconds since the epoch."""
    note: str = ""
    """How far unfinished work has come."""


@dataclass(frozen=True)
class Inventory:
    """A store as it was when it was read."""

    root: Path
    finished: Mapping[Ref, Finished]
    """In the order in which they were finished."""
    leftovers: tuple[Leftover, ...]
    runs: tuple[RunRoot, ...]

    def identities(self) -> dict[tuple[str, str], Identity]:
        """Return the identity of every finished stage that can be read, by (stage, key)."""
        return {
            ref: item.manifest.identity
            for ref, item in self.finished.items()
            if item.manifest is not None
        }

    def closure(self, refs: Iterable[Ref]) -> set[Ref]:
        """Return ``refs`` with the stages they were made from, as far as these can be read."""
        known, reached, due = self.identities(), set[Ref](), list(refs)
        while due:
            ref = due.pop()
            if ref not in reached:
                reached.add(ref)
                due.extend(parents(known[ref]) if ref in known else [])
        return reached

    def of_stage(self, stage: str) -> list[Finished]:
        """Return the finished stages of one name.

        Raises:
            UserError: there is none.
        """
        found = [item for item in self.finished.values() if item.ref.stage == stage]
        if not found:
            names = ", ".join(sorted({ref.stage for ref in self.finished})) or "none"
            raise UserError(f"{stage}: no finished stage of that name; there are: {names}")
        return found

    def find(self, stage: str, prefix: str) -> Finished:
        """Return the one finished stage of that name whose key begins with ``prefix``.

        Raises:
            UserError: there is none, or several.
        """
        stages = self.of_stage(stage)
        found = [item for item in stages if item.ref.key.startswith(prefix.lower())]
        if len(found) == 1:
            return found[0]
        what = "is the beginning of several keys" if found else "begins no key"
        shown = ", ".join(item.ref.key[: max(SHORT, len(prefix) + 4)] for item in found or stages)
        raise UserError(f"{stage} {prefix}: {what}; there are: {shown}")


def read_store(root: Path) -> Inventory:
    """Read what lies in the store at ``root``.

    Raises:
        UserError: there is no store.
    """
    try:
        names = sorted(path.name for path in root.iterdir() if path.is_dir())
    except OSError as error:
        raise UserError(f"{root}: no store can be read there ({error.strerror})") from error
    stages = [name for name in names if not name.startswith(".")]
    finished = sorted(
        (item for name in stages for item in _finished(root / name)),
        key=lambda item: (item.when, item.ref),
    )
    leftovers = [item for name in stages for item in _leftovers(root / name)]
    if not finished and not leftovers and not {RUNS_DIR, LOCKS_DIR} & set(names):
        raise UserError(f"{root}: is not a store, there is no <stage>/<key>/{MANIFEST} in it")
    for path in _listed(root / RUNS_DIR):
        if path.name.startswith(PARTIAL_PREFIX):
            leftovers.append(_leftover("partial", path, "", ""))
    return Inventory(
        root,
        {item.ref: item for item in finished},
        tuple(leftovers),
        tuple(read_run_roots(root)),
    )


def measure(path: Path, leave_out: Iterable[Path] = ()) -> tuple[int, float]:
    """Return the bytes in a file or directory, and when something in it was last written."""
    size, newest, left_out = 0, 0.0, set(leave_out)
    for place in _walk(path, left_out):
        try:
            status = place.lstat()
        except FileNotFoundError:
            continue
        newest = max(newest, status.st_mtime)
        size += 0 if place.is_dir() and not place.is_symlink() else status.st_size
    return size, newest


def _finished(directory: Path) -> Iterator[Finished]:
    for path in _listed(directory):
        if not _KEY.fullmatch(path.name) or not path.is_dir():
            continue
        ref = Ref(directory.name, path.name)
        size, newest = measure(path)
        try:
            manifest = read_manifest(path)
            when = (path / MANIFEST).stat().st_mtime
        except ManifestError as error:
            if path.is_dir():  # else it was removed meanwhile
                yield Finished(ref, path, size, newest, None, str(error))
        except FileNotFoundError:
            continue
        else:
            yield Finished(ref, path, size, when, manifest)


def _leftovers(directory: Path) -> Iterator[Leftover]:
    stage = directory.name
    for path in _listed(directory):
        if name := _WORK.fullmatch(path.name):
            damaged = [place for place in _walk(path, set()) if ".corrupt-" in place.name]
            yield _leftover("unfinished", path, stage, name[1], damaged)
            for place in damaged:
                if not set(place.parents) & set(damaged):
                    yield _leftover("damaged", place, stage, name[1])
        elif name := _DAMAGED.fullmatch(path.name):
            yield _leftover("damaged", path, stage, name[1])
        elif name := _PARTIAL.fullmatch(path.name):
            yield _leftover("partial", path, stage, name[1] or "")


def _leftover(
    kind: Literal["unfinished", "partial", "damaged"],
    path: Path,
    stage: str,
    key: str,
    leave_out: Iterable[Path] = (),
) -> Leftover:
    note = _progress(path) if kind == "unfinished" else ""
    return Leftover(kind, path, stage, key, *measure(path, leave_out), note)


def _progress(work: Path) -> str:
    """Return how far unfinished work has come, as its files' names tell."""
    names = [path.name for path in _walk(work, set())]
    items = [int(name[1]) for text in names if (name := _SHARD.fullmatch(text))]
    steps = [int(name[1]) for text in names if (name := _CHECKPOINT.fullmatch(text))]
    notes = [f"{max(items)} items"] if items else []
    return ", ".join([*notes, *([f"step {max(steps)}"] if steps else [])])


def _listed(directory: Path) -> list[Path]:
    if not directory.is_dir():
        return []
    try:
        return sorted(directory.iterdir())
    except FileNotFoundError:  # removed meanwhile
        return []


def _walk(path: Path, left_out: set[Path]) -> Iterator[Path]:
    """Yield ``path`` and everything below it but ``left_out``; links are not followed."""
    if path in left_out:
        return
    yield path
    for place, directories, files in os.walk(path):
        here = Path(place)
        directories[:] = sorted(name for name in directories if here / name not in left_out)
        yield from (here / name for name in [*directories, *sorted(files)]
                    if here / name not in left_out)  # fmt: skip
