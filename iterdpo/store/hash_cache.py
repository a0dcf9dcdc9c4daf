"""Hashes of large files, remembered as long as the files' status says that nothing was written.

The weights of a run are tens of gigabytes, and every start asks for their hash. As in git's index,
a hash is remembered with the file's path, size, times, inode and device. And as there, the times
say nothing about a file that was written within their granularity before it was read: what is
written next may bear the same time ("racy git", Documentation/technical/racy-git.txt). Such a hash
is not remembered. A write always moves ``ctime``, which nobody can set back.

An entry is a file of its own, replaced as a whole: any number of processes may share them. One
that is damaged counts as missing, and one that cannot be written is left out.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from iterdpo.store.atomic import write_text
from iterdpo.store.hashing import JSON, file_sha256, sha256_of

log = logging.getLogger(__name__)

HASHES_DIR = ".hashes"
LARGE = 2**24
"""Bytes from which a hash is worth an entry: less takes some 10 ms, and is hashed every time."""
GRANULARITY_NS = 2 * 10**9
"""The coarsest of file systems' clocks, FAT's: 2 s."""


@dataclass(frozen=True)
class HashCache:
    """The remembered hashes of one store."""

    root: Path
    """The store's."""
    large: int = LARGE
    clock: Callable[[], int] = time.time_ns

    def file_sha256(self, path: Path) -> str:
        """Return the sha256 (64 hex digits) of a file's bytes, as it is or was remembered."""
        place, began = Path(os.path.realpath(path)), self.clock()
        found = place.stat()
        if found.st_size < self.large:
            return file_sha256(path)
        status = _status(place, found)
        entry = self.root / HASHES_DIR / f"{sha256_of(str(place))[:32]}.json"
        if remembered := _remembered(entry, status):
            return remembered
        digest = file_sha256(path)
        # Whatever is written from now on moves the status: that of before cannot come back.
        if max(found.st_mtime_ns, found.st_ctime_ns) < began - GRANULARITY_NS:
            try:
                write_text(entry, json.dumps(_signed({**status, "sha256": digest})))
            except OSError as error:
                log.debug("%s: the hash of %s is not remembered: %r", entry, place, error)
        return digest

    def clear(self) -> None:
        """Forget all: every file is read again."""
        shutil.rmtree(self.root / HASHES_DIR, ignore_errors=True)


def _status(place: Path, status: os.stat_result) -> dict[str, JSON]:
    return {
        "path": str(place),
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "ctime_ns": status.st_ctime_ns,
        "inode": status.st_ino,
        "device": status.st_dev,
    }


def _remembered(entry: Path, status: dict[str, JSON]) -> str:
    """Return the hash that an entry holds for a file of this status; empty where it does not."""
    try:
        values = json.loads(entry.read_text("utf-8"))
        digest = str(values["sha256"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return ""
    return digest if values == _signed({**status, "sha256": digest}) else ""


def _signed(values: dict[str, JSON]) -> dict[str, JSON]:
    return {**values, "checksum": sha256_of(values)}
