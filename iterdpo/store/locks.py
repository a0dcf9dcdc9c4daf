"""One process at a time computes a key: locks in a store that several processes share.

The lock is the kernel's (``flock``, by filelock): it ends with the process that holds it, however
that ends. So a killed run's key is free at once, and no clock has a say in who is dead. Children
do not keep it: filelock closes its file in a fork, the kernel closes it on exec.

The lock's file stays where it is. Free, it means nothing; deleted while someone waits, it would let
two processes each lock a file of their own. It may be opened by whoever can enter its directory
(mode 0666 whatever the umask), because a second user must at least be able to wait; who may write
results is decided by the directories.

On NFS ``flock`` is a lock at the server, and holds between hosts. A file system without locks is
refused rather than served by a marker file, which nobody could take over from a dead host without
trusting clocks. One mounted to keep locks to a host (``local_lock``, ``localflock``) cannot be
distinguished: two hosts may then compute the same key. That wastes time, but results and their
shards still appear whole or not at all.
"""

from __future__ import annotations

import errno
import getpass
import json
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from iterdpo.errors import UserError

if TYPE_CHECKING:
    import filelock

log = logging.getLogger(__name__)

_MODE = 0o666
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL}
_LONGEST = 1000  # bytes that a holder may say about itself


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lock, by its own account: for people to read, not to decide by."""

    host: str = ""
    pid: int = 0
    """Process id on ``host``; 0 when the holder could not be read."""
    user: str = ""
    since: str = ""
    """When it took the lock, in UTC by its own clock, ISO 8601."""

    def __str__(self) -> str:
        if not self.pid:
            return "another process"
        return f"process {self.pid} of {self.user} on {self.host}, since {self.since}"


class HeldError(Exception):
    """A live process holds the lock; the text says which."""


def refuse(holder: Holder) -> NoReturn:
    """Do not wait: to be given to ``locked`` as ``waiting``."""
    raise HeldError(f"in use by {holder}")


@contextmanager
def locked(
    path: Path,
    *,
    waiting: Callable[[Holder], None] | None = None,
    check: Callable[[], None] = lambda: None,
    poll_seconds: float = 0.5,
) -> Iterator[None]:
    """Hold the lock of ``path`` for the block; wait while another process or thread holds it.

    Whoever waited finds that the other has finished, or died: look again, inside the block,
    whether there is still something to do.

    Args:
        path: the lock's file, made with its directories when it is not there and never deleted.
        waiting: called once, with who holds the lock, when it is not free within a pause.
        check: called before each pause; may raise, which ends the wait.
        poll_seconds: pause between two attempts, > 0.

    Raises:
        UserError: the file cannot be made or opened, or its file system has no locks.
        RuntimeError: this thread holds the lock already and would wait for itself.
    """
    import filelock  # 40 ms

    lock = filelock.FileLock(path, mode=_MODE, fallback_to_soft=False, on_acquired=_sign)
    attempts = 0
    while not _acquired(lock, path):
        attempts += 1
        # Not at the first attempt: who took the lock this instant has yet to sign it.
        if attempts == 2 and waiting is not None:
            waiting(_holder(path))
        check()
        time.sleep(poll_seconds)
    try:
        yield
    finally:
        lock.release()


def _acquired(lock: filelock.BaseFileLock, path: Path) -> bool:
    """Try once. Unlike ``blocking=False``, a cancelled wait refuses a thread that has the lock."""
    import filelock

    try:
        lock.acquire(cancel_check=lambda: True)
    except filelock.Timeout:
        return False
    except RuntimeError as error:
        raise RuntimeError(f"{path}: this thread holds the lock already") from error
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in _NO_LOCKS:
            raise UserError(
                f"{path}: its file system has no file locks ({reason}), so runs could not share "
                "the store: name one on another file system, store.root=DIR"
            ) from error
        raise UserError(
            f"{path}: cannot be opened for locking ({reason}): see that its directory can be "
            "written to, or name another store, store.root=DIR"
        ) from error
    return True


def _sign(descriptor: int) -> None:
    """Write into the lock's file who holds it: one line, over what the holder before wrote."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    me = Holder(socket.gethostname(), os.getpid(), _user(), now)
    line = json.dumps(asdict(me)).encode("ascii") + b"\n"
    try:
        # In this order a reader finds one whole line at any moment, the old one or the new.
        os.pwrite(descriptor, line, 0)
        os.ftruncate(descriptor, len(line))
        os.fsync(descriptor)  # for readers on other hosts
    except OSError as error:  # a full disk is no reason to give up a lock that is held
        log.debug("the lock's holder is not noted: %r", error)


def _holder(path: Path) -> Holder:
    try:
        with path.open("rb") as file:
            values = json.loads(file.readline(_LONGEST))
        return Holder(
            _printable(values["host"]), int(values["pid"]), _printable(values["user"]),
            _printable(values["since"]),
        )  # fmt: skip
    except (OSError, ValueError, TypeError, KeyError) as error:
        log.debug("%s does not say who holds it: %r", path, error)
        return Holder()


def _printable(text: str) -> str:
    # Any user may write the file, and it is shown in a terminal.
    return "".join(character if character.isprintable() else "?" for character in text)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in containers
        return str(os.getuid())
