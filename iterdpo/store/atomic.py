"""Files and directories that are complete or not there at all.

Everything is written beside its final place, flushed to the disk, and renamed. A rename within
one file system is atomic on POSIX, so a reader never sees half a result and a kill leaves at most
a ``.partial-*`` directory that nothing refers to.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PARTIAL_PREFIX = ".partial-"


def write_text(path: Path, text: str) -> None:
    """Replace the file at ``path`` with ``text`` in UTF-8, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=PARTIAL_PREFIX)
    partial = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode("utf-8"))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    _sync(path.parent)


@contextmanager
def published_directory(final: Path) -> Iterator[Path]:
    """Yield a working directory that becomes ``final`` when the block ends without an error.

    When another process has published ``final`` meanwhile, its result stays and this one is
    discarded: both were computed from the same key.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=final.parent, prefix=f"{PARTIAL_PREFIX}{final.name[:12]}-"))
    try:
        yield work
        for path in sorted(work.rglob("*")):
            _sync(path)
        _sync(work)
        try:
            work.rename(final)
        except OSError:
            if not final.is_dir():
                raise
        _sync(final.parent)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
