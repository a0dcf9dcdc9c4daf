"""Who holds a card, from what a driver lists that is not there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from iterdpo.engines.card_holders import Holder, card_holders
from tests.processes import is_running

Driver = Callable[[str], None]


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Driver:
    """A function that installs an nvidia-smi, a shell script."""

    def install(script: str) -> None:
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    return install


@pytest.fixture
def orphan() -> Iterator[int]:
    """A process whose parent has ended."""
    code = "import subprocess; print(subprocess.Popen(['sleep', '600'], stdout=-3, stderr=-3).pid)"
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    yield int(said)
    os.kill(int(said), 9)


def test_an_orphan_is_named_with_its_memory_and_whoever_is_ours_is_not(
    driver: Driver, orphan: int
) -> None:
    gone = next(pid for pid in range(2**22 - 1, 0, -1) if not is_running(pid))
    driver(
        f"echo '{gone}, 512, python, of another container'\n"
        f"echo '{orphan}, 71680, sleep'\n"
        f"echo '{os.getpid()}, 900, python'\n"
        "echo '[N/A], [N/A], [N/A]'"
    )
    assert card_holders() == [
        Holder(orphan, 71680, "sleep 600", orphan=True),
        Holder(gone, 512, "python, of another container", orphan=False),
    ]
    assert str(card_holders()[0]) == (
        f"process {orphan} (sleep 600, 70.0 GiB, left by a run that was killed)"
    )


def test_memory_that_the_driver_does_not_tell_is_left_out(driver: Driver, orphan: int) -> None:
    driver(f"echo '{orphan}, [N/A], sleep'")
    assert str(card_holders()[0]) == f"process {orphan} (sleep 600, left by a run that was killed)"


@pytest.mark.parametrize("script", ["echo 'No devices were found'", "exit 9"])
def test_a_driver_that_tells_nothing_names_nobody(driver: Driver, script: str) -> None:
    driver(script)
    assert card_holders() == []


def test_without_a_driver_nobody_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert card_holders() == []
