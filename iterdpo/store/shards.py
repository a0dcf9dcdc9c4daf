"""Verified parts: what a long stage has done so far, so that a kill costs one part at most.

A stage that makes records of many *units* (prompts, candidates) in a fixed order writes them down
part by part. A part is one Parquet file that covers a range of units and is named by it:

    <first unit>-<unit after the last>.<seal>.parquet

The seal is a sha256 over the stage's key, the range and the file's bytes. With everything that
verifies a part in its name, one rename publishes it: there is no second file that a kill could
separate from it. It is written aside and flushed before that.

Only the process that holds the stage's lock may open its parts.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from iterdpo.store.atomic import PARTIAL_PREFIX, disk_errors_named, set_aside, sync
from iterdpo.store.hashing import file_sha256, sha256_of
from iterdpo.store.tables import read_records, write_records

log = logging.getLogger(__name__)

Record = TypeVar("Record")
Unit = TypeVar("Unit")

_SUFFIX = ".parquet"


class Parts(Generic[Record]):
    """The finished parts of one stage, in order from unit 0 without a gap.

    Opening them verifies every one. A part that is not what its name says, or not the next one, is
    set aside with all that follow it: renamed to ``*.corrupt-<n>``, named in a warning, never read
    and never deleted here.
    """

    def __init__(
        self, directory: Path, record: type[Record], key: str, units: int, part_units: int
    ) -> None:
        """Open the parts in ``directory``, which is made if it is not there.

        Args:
            directory: holds the parts of this stage and nothing else.
            record: dataclass of the records.
            key: the stage's key; parts of another are set aside.
            units: how many units the stage has, 0 or more.
            part_units: how many of them a part covers, 1 or more; the last may cover fewer.

        Raises:
            UserError: the directory cannot be made, read or written to.
        """
        if units < 0 or part_units < 1:
            raise ValueError(f"{units} units in parts of {part_units}")
        self.directory, self.record, self.key = directory, record, key
        self.units, self.part_units = units, part_units
        with disk_errors_named(directory):
            directory.mkdir(parents=True, exist_ok=True)
            self._paths = self._verified()

    def done(self) -> int:
        """Return how many units are finished: those from 0 up to this number, in [0, units]."""
        return self._range(len(self._paths)).start

    def records(self) -> Iterator[Record]:
        """Yield the records of the finished units, in order."""
        for path in self._paths:
            yield from read_records(path, self.record)

    def due(self) -> range:
        """Return the units of the next part; empty when all are finished."""
        return self._range(len(self._paths))

    def append(self, records: Sequence[Record]) -> None:
        """Write down the records of the units that are ``due()``, any number of them.

        Raises:
            ValueError: every unit is finished already.
            UserError: the disk is full or not writable; no part of it is visible then.
        """
        if not self.due():
            raise ValueError(f"all {self.units} units are finished")
        partial = self.directory / f"{PARTIAL_PREFIX}{os.getpid()}-{secrets.token_hex(4)}"
        with disk_errors_named(self.directory):
            try:
                write_records(partial, self.record, records)
                sync(partial)
                final = self.directory / self._name(self.due(), file_sha256(partial))
                partial.replace(final)
            finally:
                partial.unlink(missing_ok=True)
            sync(self.directory)
        self._paths.append(final)

    def _range(self, number: int) -> range:
        start = min(number * self.part_units, self.units)
        return range(start, min(start + self.part_units, self.units))

    def _name(self, units: range, file_hash: str) -> str:
        seal = sha256_of([self.key, units.start, units.stop, file_hash])
        return f"{_prefix(units)}{seal}{_SUFFIX}"

    def _verified(self) -> list[Path]:
        found = sorted(self.directory.glob(f"*{_SUFFIX}"))
        for number, path in enumerate(found):
            if problem := self._problem(path, self._range(number)):
                log.warning(
                    "%s %s: set aside with the %d after it, as *.corrupt-<n>; units from %d on are "
                    "computed again",
                    path, problem, len(found) - number - 1, self._range(number).start,
                )  # fmt: skip
                for wrong in found[number:]:
                    set_aside(wrong)
                return found[:number]
        return found

    def _problem(self, path: Path, units: range) -> str | None:
        if not path.name.startswith(_prefix(units)):
            return "is not the part that is due in its place"
        try:
            file_hash = file_sha256(path)
        except PermissionError:  # another user's, and not damaged
            raise
        except OSError as error:
            return f"cannot be read ({error.strerror})"
        if path.name != self._name(units, file_hash):
            return "is damaged, or was written for another key (its sha256 differs)"
        return None


def compute_by_parts(
    parts: Parts[Record],
    units: Sequence[Unit],
    compute: Callable[[int, Sequence[Unit]], Iterable[Sequence[Record]]],
    *,
    streams: bool = False,
    check: Callable[[], None] = lambda: None,
) -> Iterator[Record]:
    """Yield the records of all ``units`` in order: finished parts are read, the others computed.

    Args:
        parts: what is finished; every part is added to it when its last record is computed.
        units: all units of the stage, ``parts.units`` of them.
        compute: called with the number of the first unit and the units; returns the records of one
            unit after the other. These must depend on the two arguments alone (seeds too), so that
            it does not matter which parts were there before.
        streams: call ``compute`` once for all that is due instead of once a part. For what computes
            every unit alone, and best when it sees many.
        check: called after each part; may raise to stop where nothing is lost.

    Raises:
        UserError: a part cannot be written.
    """
    if len(units) != parts.units:
        raise ValueError(f"{len(units)} units for parts of {parts.units}")
    yield from parts.records()
    while due := parts.due():
        if streams:
            due = range(due.start, parts.units)
        records: list[Record] = []
        for number, made in enumerate(compute(due.start, units[due.start : due.stop]), due.start):
            yield from made
            records.extend(made)
            if number + 1 == parts.due().stop:
                parts.append(records)
                records = []
                check()
        if parts.done() < due.stop:
            raise ValueError(f"{due.stop - parts.done()} units of {len(due)} were not computed")


def _prefix(units: range) -> str:
    return f"{units.start:08d}-{units.stop:08d}."
