"""Files and directories that are complete or not there at all.

Everything is written beside its final place, flushed to the disk, and renamed. A rename within
one file system is atomic on POSIX, so a reader never sees half a result and a kill leaves at most
a ``.partial-*`` directory that nothing refers to.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from iterdpo.errors import UserError
from iterdpo.runtime.formatting import disk_size

PARTIAL_PREFIX = ".partial-"

_DAMAGED = ".corrupt-"
_FULL = {errno.ENOSPC, errno.EDQUOT}
_SAFETENSORS = re.compile(r"\(os error (\d+)\)")
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_IN_THE_WAY = {errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENOTEMPTY, errno.ELOOP}


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
        partial.chmod(_allowed(0o666))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    sync(path.parent)


@contextmanager
def published_directory(final: Path) -> Iterator[Path]:
    """Yield a working directory that becomes ``final`` when the block ends without an error.

    When another process has published ``final`` meanwhile, its result stays and this one is
    discarded: both were computed from the same key.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=final.parent, prefix=f"{PARTIAL_PREFIX}{final.name[:12]}-"))
    work.chmod(_allowed(0o777))
    try:
        yield work
        for path in sorted(work.rglob("*")):
            sync(path)
        sync(work)
        try:
            work.rename(final)
        except OSError:
            if not final.is_dir():
                raise
        sync(final.parent)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def remove_partial(final: Path) -> None:
    """Delete what killed processes left of ``final``. Only for the holder of its lock."""
    for partial in final.parent.glob(f"{PARTIAL_PREFIX}{final.name[:12]}-*"):
        shutil.rmtree(partial, ignore_errors=True)


def remove_all_but_damaged(directory: Path, keep: Path | None = None) -> bool:
    """Delete what lies in ``directory`` but for what was set aside, which keeps the directory too.

    Nothing happens when there is no such directory.

    Args:
        directory: what to clear.
        keep: a path below it to leave as it is.

    Returns:
        Whether a file was deleted.
    """
    removed = False
    for path in sorted(directory.rglob("*"), reverse=True):  # what is in a directory before it
        if _DAMAGED in path.relative_to(directory).as_posix() or keep in (path, *path.parents):
            continue
        if not path.is_dir() or path.is_symlink():
            path.unlink(missing_ok=True)
            removed = True
        elif not any(path.iterdir()):
            path.rmdir()
    if directory.is_dir() and not any(directory.iterdir()):
        directory.rmdir()
    return removed


def set_aside(path: Path) -> Path:
    """Rename a damaged file or directory to ``<name>.corrupt-<n>`` and return where it is now."""
    names = (path.with_name(f"{path.name}{_DAMAGED}{number}") for number in count(1))
    return path.rename(next(place for place in names if not place.exists()))


@contextmanager
def disk_errors_named(
    directory: Path, other: str = "another store, store.root=DIR"
) -> Iterator[None]:
    """Turn what a disk refuses into a line that says where, why and what to do.

    Args:
        directory: what is read and written in the block.
        other: what to name instead of it, for the message.

    Raises:
        UserError: a write in the block failed because the disk or a quota is full, a file may not
            grow so large, something may not be read or written, or a file lies in the place of a
            directory (or the reverse). Every other error comes through.
    """
    try:
        with _os_errors_of_safetensors():
            yield
    except OSError as error:
        if error.errno in _FULL:
            place = next(place for place in (directory, *directory.parents) if place.exists())
            left = os.statvfs(place)
            free = (
                "no file"
                if left.f_files and not left.f_favail
                else disk_size(left.f_bavail * left.f_frsize)
            )
            raise UserError(
                f"{directory}: the disk is full ({os.strerror(error.errno)}, {free} free): "
                "make room and run the same command again; what was finished is kept"
            ) from error
        if error.errno == errno.EFBIG:
            raise UserError(
                f"{directory}: a file may not grow as large there ({os.strerror(error.errno)}): "
                "raise the limit (ulimit -f), or name a store on another file system, "
                "store.root=DIR; what was finished is kept"
            ) from error
        if error.errno in _FORBIDDEN:
            raise UserError(
                f"{error.filename or directory}: cannot be read and written "
                f"({os.strerror(error.errno)}): ask its owner for both, or name {other}"
            ) from error
        if error.errno in _IN_THE_WAY and error.filename is not None:
            path = Path(os.fsdecode(error.filename2 or error.filename))
            place = next(place for place in (path, *path.parents) if os.path.lexists(place))
            wanted = "a file" if place.is_dir() else "a directory"
            raise UserError(
                f"{place}: lies in the place of {wanted} ({os.strerror(error.errno)}): move it "
                f"away and run the same command again, or name {other}; what was finished is kept"
            ) from error
        raise


@contextmanager
def _os_errors_of_safetensors() -> Iterator[None]:
    """Turn the error of a safetensors file that could not be written into the system's own."""
    try:
        yield
    except Exception as error:
        number = _SAFETENSORS.search(str(error))
        if type(error).__name__ != "SafetensorError" or number is None:
            raise
        code = int(number[1])
        raise OSError(code, os.strerror(code)) from error


def sync(path: Path) -> None:
    """Flush a file or a directory to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _allowed(mode: int) -> int:
    # tempfile makes everything private; a store may be shared, as the user's umask says.
    umask = os.umask(0)
    os.umask(umask)
    return mode & ~umask
