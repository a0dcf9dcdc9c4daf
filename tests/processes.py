"""Processes that wait where a test wants them, and those that are left of a test's.

What happens to a process at some place must not depend on how soon it gets there: it waits.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_BEFORE_A_SHARD = """
import sys
from iterdpo.store.shards import Shards
append = Shards.append
def wait(self, *args):
    if {stage!r} in self.directory.parts and self.done() >= {done}:
        print("waits", flush=True)
        sys.stdin.readline()
    append(self, *args)
Shards.append = wait
from iterdpo.__main__ import main
main()
"""


def program_that_waits(stage: str, done: int = 0) -> list[str]:
    """Return the command of the program that says ``waits`` and waits for a line of input, or its
    end, before it writes down a shard of ``stage``, when at least ``done`` items are there."""
    return [sys.executable, "-c", _BEFORE_A_SHARD.format(stage=stage, done=done)]


def until_it_waits(program: subprocess.Popen[str]) -> None:
    """Return when the program, whose output is a pipe, waits."""
    assert program.stdout is not None
    assert "waits\n" in program.stdout, "the run ended before it waited"


def started_with(mark: str) -> set[int]:
    """Return the processes that run and have ``mark`` in their environment, as what a process
    starts has what it had, in whatever session and whoever is its parent by now."""
    found = set()
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (place / "environ").read_bytes():
                found.add(int(place.name))
        except OSError:  # it is another user's, or has ended
            continue
    return found


def children_of(pid: int) -> set[int]:
    """Return the processes that ``pid`` has started and that it has not waited for."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):  # it has ended
            continue
        if fields[1] == str(pid):
            found.add(int(stat.parent.name))
    return found


def is_running(pid: int) -> bool:
    """Say whether a process is there and has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
