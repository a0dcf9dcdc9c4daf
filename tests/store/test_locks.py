from __future__ import annotations

import errno
import getpass
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from iterdpo.errors import UserError
from iterdpo.store.locks import Holder, locked

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 60  # until a process that hangs fails its test

# Every process says what happens to it, line by line, and is told when to go on.
IMPORTS = """
import os, signal, subprocess, sys
from pathlib import Path
from iterdpo.store.locks import locked
path = Path(sys.argv[1])
"""
HOLD = """
def waiting(holder):
    print("waiting", flush=True)
with locked(path, waiting=waiting, poll_seconds=0.01):
    print("holds", flush=True)
    sys.stdin.readline()
    with Path(sys.argv[2]).open("a") as file:
        file.write(sys.argv[3] + " ends\\n")
"""
CHILDREN = """
with locked(path):
    spawned = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]).pid
    forked = os.fork()
    if not forked:
        signal.pause()
    print(spawned, forked, flush=True)
    signal.pause()
"""
LEAVE = """
with locked(path):
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        print("the child left", flush=True)
        signal.pause()
"""
COUNT = """
counter = Path(sys.argv[2])
for _ in range(20):
    with locked(path, poll_seconds=0.001):
        counter.write_text(str(int(counter.read_text()) + 1))
"""


Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start Python processes that end with the test."""
    started = []

    def one(code: str, *arguments: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", IMPORTS + code, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        started.append(process)
        return process

    yield one
    for process in started:
        process.kill()
        process.communicate()


def heard(process: subprocess.Popen[str]) -> str:
    """Return the next line that a process says."""
    assert process.stdout is not None
    return process.stdout.readline()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "locks" / "key"


@contextmanager
def held_by_thread(path: Path) -> Iterator[Callable[[], None]]:
    """Hold the lock in another thread, until what this yields is called."""
    held, freed = threading.Event(), threading.Event()

    def hold() -> None:
        with locked(path):
            held.set()
            freed.wait(SECONDS)

    def free() -> None:
        freed.set()
        thread.join()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(SECONDS)
    try:
        yield free
    finally:
        free()


def not_free(holder: Holder | None) -> None:
    pytest.fail(f"the lock is held by {holder}")


def test_the_second_waits_for_the_first_and_then_goes_on(
    start: Start, path: Path, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    first = start(HOLD, path, log, "first")
    assert heard(first) == "holds\n"
    second = start(HOLD, path, log, "second")
    assert heard(second) == "waiting\n"
    assert second.stdin is not None
    second.stdin.write("\n")  # it would end first, had it not to wait
    second.stdin.flush()
    first.communicate("\n", timeout=SECONDS)
    assert second.communicate(timeout=SECONDS)[0] == "holds\n"  # and said once that it waited
    assert (first.returncode, second.returncode) == (0, 0)
    assert log.read_text() == "first ends\nsecond ends\n"


def test_a_killed_process_is_named_and_taken_over_from(
    start: Start, path: Path, tmp_path: Path
) -> None:
    first = start(HOLD, path, tmp_path / "log", "first")
    assert heard(first) == "holds\n"
    told = []

    def waiting(holder: Holder) -> None:
        told.append(holder)
        first.send_signal(signal.SIGKILL)

    with locked(path, waiting=waiting, poll_seconds=0.01):
        (holder,) = told
    assert (holder.host, holder.pid) == (socket.gethostname(), first.pid)
    assert holder.user == getpass.getuser()
    assert datetime.fromisoformat(holder.since).tzinfo is not None
    who = f"process {first.pid} of {holder.user} on {holder.host}"
    assert str(holder) == f"{who}, since {holder.since}"
    with locked(path, waiting=not_free):  # what both left behind is in nobody's way
        assert path.exists()


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        (b"", "another process"),
        (b"{", "another process"),
        (b'{"pid": 1}', "another process"),
        (b"\xff" * 9000, "another process"),
        (
            b'{"host": "h\\u001b[2J", "pid": 7, "user": "u\\n", "since": "t"}\ntail',
            "process 7 of u? on h?[2J, since t",
        ),
    ],
)
def test_what_a_lock_says_of_its_holder_is_only_shown(
    path: Path, content: bytes, shown: str
) -> None:
    told = []
    with held_by_thread(path) as free:  # a thread is waited for as well
        path.write_bytes(content)

        def waiting(holder: Holder) -> None:
            told.append(str(holder))
            free()

        with locked(path, waiting=waiting, poll_seconds=0.01):
            assert json.loads(path.read_bytes())["pid"] == os.getpid()
    assert told == [shown]


def test_who_waits_is_told_once_and_not_at_the_first_attempt(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Holder | None] = []
    told_at_sleep = []
    with held_by_thread(path) as free:

        def sleep(_: Any) -> None:
            told_at_sleep.append(len(told))
            if len(told_at_sleep) == 5:
                free()

        monkeypatch.setattr(time, "sleep", sleep)
        with locked(path, waiting=told.append):
            assert told_at_sleep == [0, 1, 1, 1, 1]


def test_no_update_is_lost_among_four_processes(start: Start, path: Path, tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")
    processes = [start(COUNT, path, counter) for _ in range(4)]
    assert [process.wait(SECONDS) for process in processes] == [0] * 4
    assert counter.read_text() == "80"


def test_children_do_not_keep_a_dead_parents_lock(start: Start, path: Path) -> None:
    parent = start(CHILDREN, path)
    children = [int(pid) for pid in heard(parent).split()]
    assert len(children) == 2
    parent.kill()
    parent.wait()
    try:
        with locked(path, waiting=not_free, poll_seconds=0.01):
            for child in children:
                os.kill(child, 0)  # both are alive, and without the lock
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)


def test_a_forked_child_that_leaves_the_block_does_not_free_the_lock(
    start: Start, path: Path
) -> None:
    parent = start(LEAVE, path)
    assert heard(parent) == "the child left\n"
    told = []

    def waiting(holder: Holder) -> None:
        told.append(holder.pid)
        parent.kill()

    with locked(path, waiting=waiting, poll_seconds=0.01):
        assert told == [parent.pid]


def test_a_thread_that_would_wait_for_itself_is_refused(path: Path, tmp_path: Path) -> None:
    (tmp_path / "other").symlink_to(path.parent, target_is_directory=True)
    with locked(path):
        for same in (path, tmp_path / "other" / path.name):
            again = locked(same)
            with pytest.raises(RuntimeError, match="this thread holds the lock already"), again:
                pytest.fail("entered twice")
        with locked(path.with_name("another key"), waiting=not_free):
            pass
    with locked(path, waiting=not_free):
        pass


def test_an_error_in_the_block_comes_through_and_frees_the_lock(path: Path) -> None:
    with pytest.raises(PermissionError), locked(path):
        raise PermissionError(errno.EACCES, "the stage's own")
    with locked(path, waiting=not_free):
        pass


def test_every_user_may_open_the_locks_file(path: Path) -> None:
    before = os.umask(0o077)
    try:
        with locked(path):
            assert stat.S_IMODE(path.stat().st_mode) == 0o666
    finally:
        os.umask(before)


@pytest.fixture
def read_only() -> Iterator[Path]:
    """A directory that may not be written to, not even by a test that root runs."""
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o555)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    yield directory
    if root:
        os.seteuid(0)
    directory.rmdir()


@pytest.mark.parametrize("below", ["key", "stage/key"])
def test_a_read_only_store_is_named_with_what_to_do(read_only: Path, below: str) -> None:
    with pytest.raises(UserError) as caught, locked(read_only / below):
        pytest.fail("entered")
    text = str(caught.value)
    assert str(read_only) in text
    assert "Permission denied" in text
    assert "store.root=" in text
    assert "\n" not in text


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_refused_not_guessed_around(
    path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def flock(*_: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("fcntl.flock", flock)
    with pytest.raises(UserError, match=r"no file locks \(.*store\.root=") as caught, locked(path):
        pytest.fail("entered")
    assert str(path) in str(caught.value)


def test_a_full_disk_does_not_stop_who_holds_the_lock(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    with locked(path, waiting=not_free):
        assert path.read_text() == ""


def test_a_user_without_a_name_is_a_number(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless() -> None:
        raise KeyError("uid not found")

    monkeypatch.setattr(getpass, "getuser", nameless)
    with locked(path):
        assert f'"user": "{os.getuid()}"' in path.read_text()
