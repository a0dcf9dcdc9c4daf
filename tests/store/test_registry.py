from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from iterdpo.errors import UserError
from iterdpo.store.identity import Ref
from iterdpo.store.registry import RegisteredRun, entries
from iterdpo.store.run_roots import read_run_roots

ROOT = Path(__file__).resolve().parents[2]
LIVE = """
import sys
from pathlib import Path
from iterdpo.store.registry import RegisteredRun
run = RegisteredRun(Path(sys.argv[1]), Path(sys.argv[2]), "c")
with run.living(), run.continued() as stopped:
    run.uses(["candidates/1"])
with run.living():
    print(stopped, flush=True)
    sys.stdin.readline()
"""


def registered(
    root: Path, name: str, config: str = "c", stages: Sequence[str] = ("candidates/1",)
) -> RegisteredRun:
    place = root.parent / name
    place.mkdir(exist_ok=True)
    run = RegisteredRun(root, place, config)
    run.uses(stages)
    return run


def test_a_run_tells_what_it_uses_and_when_it_is_finished(tmp_path: Path) -> None:
    root = tmp_path / "store"
    run = registered(root, "a", stages=["prompts/1", "candidates/2"])
    (entry,) = entries(root)
    assert entry.run_dir == str(tmp_path / "a")
    assert (entry.stages, entry.finished) == (("prompts/1", "candidates/2"), False)
    run.finish()
    (entry,) = entries(root)
    assert (len(entry.stages), entry.finished) == (2, True)


def stages_of(root: Path) -> set[str]:
    return {stage for entry in entries(root) for stage in entry.stages}


def test_a_run_that_is_started_again_keeps_what_it_used_until_it_comes_to_its_end(
    tmp_path: Path,
) -> None:
    root, stages = tmp_path / "store", ["prompts/1", "candidates/2", "adapter/3"]
    registered(root, "a", stages=stages).finish()
    registered(root, "a", stages=["prompts/1"])  # stopped after the first
    again = registered(root, "a", stages=["prompts/4"])  # and once more, with another version
    (entry,) = entries(root)
    assert entry.stages == ("prompts/4", *stages)
    assert not entry.finished
    again.finish()
    (entry,) = entries(root)
    assert (entry.stages, entry.finished) == (("prompts/4",), True)


def test_a_run_of_another_configuration_leaves_the_entry_of_the_first_in_its_directory(
    tmp_path: Path,
) -> None:
    root = tmp_path / "store"
    registered(root, "a", stages=["adapter/1"]).finish()
    registered(root, "a", config="other", stages=["adapter/2"]).finish()
    assert stages_of(root) == {"adapter/1", "adapter/2"}
    registered(root, "a", stages=["prompts/1"])
    assert stages_of(root) == {"adapter/1", "adapter/2", "prompts/1"}


@pytest.mark.parametrize("damage", ["", "[" * 100_000, '{"stages": 5}'])
def test_after_damage_to_its_entry_a_run_lists_what_it_does_not_know_until_its_end(
    tmp_path: Path, damage: str
) -> None:
    root = tmp_path / "store"
    registered(root, "a", stages=["adapter/1"])
    (path,) = (root / ".runs").iterdir()
    path.write_text(damage)
    again = registered(root, "a", stages=["prompts/1"])
    (found,) = read_run_roots(root)
    assert found.problem == f"{path}: is no registration of a run"  # so gc deletes nothing
    again.finish()
    (found,) = read_run_roots(root)
    assert found.problem == ""
    assert found.stages == {Ref("prompts", "1")}


def test_a_run_whose_directory_is_gone_no_longer_counts(tmp_path: Path) -> None:
    registered(tmp_path / "store", "a")
    registered(tmp_path / "store", "b")
    shutil.rmtree(tmp_path / "a")
    assert [entry.run_dir for entry in entries(tmp_path / "store")] == [str(tmp_path / "b")]


Live = Callable[[str], tuple[subprocess.Popen[str], str]]


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    """Start runs in processes of their own, which live until they are killed."""
    started = []

    def one(name: str) -> tuple[subprocess.Popen[str], str]:
        (tmp_path / name).mkdir()
        process = subprocess.Popen(
            [sys.executable, "-c", LIVE, str(tmp_path / "store"), str(tmp_path / name)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        started.append(process)
        assert process.stdout is not None
        return process, process.stdout.readline().strip()

    yield one
    for process in started:
        process.kill()
        process.communicate()


def continued_by(root: Path, name: str) -> Any:
    """Return what a new run of the configuration goes on from; it ends at once, unfinished."""
    place = root.parent / name
    place.mkdir(exist_ok=True)
    run = RegisteredRun(root, place, "c")
    with run.living(), run.continued() as stopped:
        pass
    return stopped


def test_the_same_command_finds_the_run_that_was_stopped(tmp_path: Path) -> None:
    root = tmp_path / "store"
    registered(root, "other", config="d")
    registered(root, "done").finish()
    assert continued_by(root, "first") is None
    registered(root, "stopped")
    assert continued_by(root, "again") == tmp_path / "stopped"


def test_a_run_is_gone_on_from_once_and_then_the_one_that_did(tmp_path: Path) -> None:
    root = tmp_path / "store"
    registered(root, "stopped")
    second = RegisteredRun(root, tmp_path / "second", "c")
    (tmp_path / "second").mkdir()
    with second.living(), second.continued() as stopped:
        assert stopped == tmp_path / "stopped"
    second.uses(["candidates/1"])
    assert continued_by(root, "third") == tmp_path / "second"
    second.finish()  # as if the third had never been: what it went on from stays taken
    shutil.rmtree(tmp_path / "third")
    assert continued_by(root, "fourth") is None


def test_a_run_in_a_directory_of_its_own_keeps_what_it_goes_on_from(tmp_path: Path) -> None:
    root = tmp_path / "store"
    registered(root, "stopped")
    assert continued_by(root, "second") == tmp_path / "stopped"
    again = RegisteredRun(root, tmp_path / "second", "c")
    with again.living(), again.continued() as stopped:
        assert stopped is None  # the directory has all that it needs
    again.uses(["candidates/1"])
    again.finish()
    assert continued_by(root, "third") is None


def test_a_run_that_lives_is_not_gone_on_from_until_it_is_killed(
    tmp_path: Path, live: Live
) -> None:
    root = tmp_path / "store"
    first, said = live("first")
    assert said == "None"
    assert continued_by(root, "second") is None
    shutil.rmtree(tmp_path / "second")
    first.kill()
    first.wait()
    assert continued_by(root, "third") == tmp_path / "first"


def test_of_a_stopped_run_two_that_live_get_it_once(tmp_path: Path, live: Live) -> None:
    registered(tmp_path / "store", "stopped")
    assert live("first")[1] == str(tmp_path / "stopped")
    assert live("second")[1] == "None"


def test_a_second_run_in_a_directory_that_one_lives_in_is_refused(
    tmp_path: Path, live: Live
) -> None:
    process, _ = live("first")
    second = RegisteredRun(tmp_path / "another store", tmp_path / "first", "another configuration")
    said = rf"first: in use by process {process.pid} of .*hydra\.run\.dir=DIR"
    with pytest.raises(UserError, match=said), second.living():
        pytest.fail("entered")
    process.kill()
    process.wait()
    with second.living():
        pass


def test_without_locks_a_run_goes_on_from_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(*_: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    registered(tmp_path / "store", "stopped")
    monkeypatch.setattr("fcntl.flock", flock)
    assert continued_by(tmp_path / "store", "second") is None


def test_a_lock_that_cannot_be_tried_counts_as_held(tmp_path: Path) -> None:
    root = tmp_path / "store"
    assert continued_by(root, "first") is None
    registered(root, "first")
    lock = tmp_path / "first" / ".lock"
    lock.unlink()
    lock.mkdir()
    assert continued_by(root, "second") is None


def test_a_run_of_somebody_else_that_cannot_be_looked_into_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    registered(tmp_path / "store", "hidden")
    registered(tmp_path / "store", "mine")
    is_dir = Path.is_dir

    def refuse(self: Any) -> Any:
        if self.name == "hidden":
            raise PermissionError(13, "Permission denied", str(self))
        return is_dir(self)

    monkeypatch.setattr(Path, "is_dir", refuse)
    assert [entry.run_dir for entry in entries(tmp_path / "store")] == [str(tmp_path / "mine")]
    assert not caplog.records


def test_an_entry_that_cannot_be_read_is_left_out_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    registered(tmp_path / "store", "a")
    (path,) = (tmp_path / "store" / ".runs").iterdir()
    path.write_text(json.dumps({"run_dir": "x"}))
    assert entries(tmp_path / "store") == []
    assert str(path) in caplog.text
