"""The code's commit, and nothing of a repository that may be private."""

import os
import subprocess
from pathlib import Path

import pytest

import iterdpo
from iterdpo.tracking.provenance import described, git_state


def git(directory: Path, *arguments: str) -> str:
    identity = {f"GIT_{who}_{what}": "x@y" for who in ("AUTHOR", "COMMITTER")
                for what in ("NAME", "EMAIL")}  # fmt: skip
    return subprocess.run(
        ["git", "-C", str(directory), *arguments], env={**os.environ, **identity},
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    place = tmp_path / "checkout"
    place.mkdir()
    git(place, "init", "-q")
    git(place, "remote", "add", "origin", "https://me:s3cr3t@host/repository")
    (place / "file").write_text("a")
    git(place, "add", "file")
    git(place, "commit", "-q", "-m", "first")
    return place


def test_the_commit_and_whether_files_differ(checkout: Path) -> None:
    commit = git(checkout, "rev-parse", "HEAD")
    assert git_state(checkout) == {"commit": commit, "dirty": False}
    (checkout / "new").write_text("untracked files are no part of the code")
    assert git_state(checkout) == {"commit": commit, "dirty": False}
    (checkout / "file").write_text("b")
    assert git_state(checkout) == {"commit": commit, "dirty": True}


def test_a_package_inside_of_another_s_repository_has_no_commit(checkout: Path) -> None:
    inside = checkout / ".venv" / "site-packages"
    inside.mkdir(parents=True)
    assert git_state(inside) is None


def test_no_repository_and_no_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert git_state(tmp_path) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(tmp_path) is None


def test_another_repository_in_the_environment_is_not_looked_at(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q")
    expected = git(checkout, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    state = git_state(checkout)
    assert state is not None
    assert state["commit"] == expected


def test_the_configuration_stays_nested_beside_what_is_added(tmp_path: Path) -> None:
    told = described({"training": {"beta": 0.1}}, {"torch": "2"}, tmp_path / "run")
    assert told["training"] == {"beta": 0.1}
    assert told["versions"] == {"iterdpo": iterdpo.__version__, "torch": "2"}
    assert told["run_directory"] == "run"
    assert set(told["git"] or {}) <= {"commit", "dirty"}
