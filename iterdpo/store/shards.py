"""Verified shards: what a long stage has done so far, so that a kill costs one shard at most.

A stage that makes records of many *items* (prompts, candidates) in a fixed order writes them down
shard by shard. A shard is one Parquet file that covers a range of items and is named by it:

    <first item>-<item after the last>.<checksum>.parquet

The checksum is a sha256 over what the shards are bound to, the range and the file's bytes. With
everything that verifies a shard in its name, one rename publishes it: there is no second file that
a kill could separate from it. It is written aside and flushed before that.

Only the process that holds the stage's lock may open its shards.
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
Item = TypeVar("Item")

_SUFFIX = ".parquet"


class Shards(Generic[Record]):
    """The finished shards of one stage, in order from item 0 without a gap.

    Opening them verifies every one. A shard that is not what its name says, or not the next one, is
    set aside with all that follow it: renamed to ``*.corrupt-<n>``, named in a warning, never read
    and never deleted here.
    """

    def __init__(
        self, directory: Path, record: type[Record], bound_to: str, items: int, shard_items: int
    ) -> None:
        """Open the shards in ``directory``, which is made if it is not there.

        Args:
            directory: holds the shards of this stage and nothing else.
            record: dataclass of the records.
            bound_to: hash of the stage's key and its parents' results; shards of another are set
                aside.
            items: how many items the stage has, 0 or more.
            shard_items: how many of them a shard covers, 1 or more; the last may cover fewer.

        Raises:
            UserError: the directory cannot be made, read or written to.
        """
        if items < 0 or shard_items < 1:
            raise ValueError(f"{items} items in shards of {shard_items}")
        self.directory, self.record, self.bound_to = directory, record, bound_to
        self.items, self.shard_items = items, shard_items
        with disk_errors_named(directory):
            directory.mkdir(parents=True, exist_ok=True)
            self._paths = self._verified()

    def done(self) -> int:
        """Return how many items are finished: those from 0 up to this number, in [0, items]."""
        return self._range(len(self._paths)).start

    def records(self) -> Iterator[Record]:
        """Yield the records of the finished items, in order."""
        for path in self._paths:
            yield from read_records(path, self.record)

    def due(self) -> range:
        """Return the items of the next shard; empty when all are finished."""
        return self._range(len(self._paths))

    def append(self, records: Sequence[Record]) -> None:
        """Write down the records of the items that are ``due()``, any number of them.

        Raises:
            ValueError: every item is finished already.
            UserError: the disk is full or not writable; nothing of it is visible then.
        """
        if not self.due():
            raise ValueError(f"all {self.items} items are finished")
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
        start = min(number * self.shard_items, self.items)
        return range(start, min(start + self.shard_items, self.items))

    def _name(self, items: range, file_hash: str) -> str:
        checksum = sha256_of([self.bound_to, items.start, items.stop, file_hash])
        return f"{_prefix(items)}{checksum}{_SUFFIX}"

    def _verified(self) -> list[Path]:
        found = sorted(self.directory.glob(f"*{_SUFFIX}"))
        for number, path in enumerate(found):
            if problem := self._problem(path, self._range(number)):
                log.warning(
                    "%s %s: set aside with the %d after it, as *.corrupt-<n>; items from %d on are "
                    "computed again",
                    path, problem, len(found) - number - 1, self._range(number).start,
                )  # fmt: skip
                for wrong in found[number:]:
                    set_aside(wrong)
                return found[:number]
        return found

    def _problem(self, path: Path, items: range) -> str | None:
        if not path.name.startswith(_prefix(items)):
            return "is not the shard that is due in its place"
        try:
            file_hash = file_sha256(path)
        except PermissionError:  # another user's, and not damaged
            raise
        except OSError as error:
            return f"cannot be read ({error.strerror})"
        if path.name != self._name(items, file_hash):
            return "is damaged, or was written from other inputs (its sha256 differs)"
        return None


def compute_in_shards(
    shards: Shards[Record],
    items: Sequence[Item],
    compute: Callable[[int, Sequence[Item]], Iterable[Sequence[Record]]],
    *,
    streams: bool = False,
    check: Callable[[], None] = lambda: None,
) -> Iterator[Record]:
    """Yield the records of all ``items`` in order: finished shards are read, the others computed.

    Args:
        shards: what is finished; every shard is added to it when its last record is computed.
        items: all items of the stage, ``shards.items`` of them.
        compute: called with the number of the first item and the items; returns the records of one
            item after the other. These must depend on the two arguments alone (seeds too), so that
            it does not matter which shards were there before.
        streams: call ``compute`` once for all that is due instead of once a shard. For what
            computes every item alone, and best when it sees many.
        check: called after each shard; may raise to stop where nothing is lost.

    Raises:
        UserError: a shard cannot be written.
    """
    if len(items) != shards.items:
        raise ValueError(f"{len(items)} items for shards of {shards.items}")
    yield from shards.records()
    while due := shards.due():
        if streams:
            due = range(due.start, shards.items)
        records: list[Record] = []
        for number, made in enumerate(compute(due.start, items[due.start : due.stop]), due.start):
            yield from made
            records.extend(made)
            if number + 1 == shards.due().stop:
                shards.append(records)
                records = []
                check()
        if shards.done() < due.stop:
            raise ValueError(f"{due.stop - shards.done()} items of {len(due)} were not computed")


def _prefix(items: range) -> str:
    return f"{items.start:08d}-{items.stop:08d}."
