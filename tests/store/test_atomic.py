"""Errors of a disk are a line that says what it lacks."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from iterdpo.errors import UserError
from iterdpo.store.atomic import disk_errors_named, published_directory, write_text


@pytest.mark.parametrize(
    ("files", "left", "said"),
    [(100, 5, "10.0 kB free"), (100, 0, "no file free"), (0, 0, "10.0 kB free")],
    ids=["no room", "no file", "a system that makes files as it needs them"],
)
def test_a_full_disk_is_told_from_one_without_room_for_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: int, left: int, said: str
) -> None:
    there = SimpleNamespace(f_files=files, f_favail=left, f_bavail=10, f_frsize=1000)
    monkeypatch.setattr(os, "statvfs", lambda _: there)
    said = rf"the disk is full \(.*, {said}\)"
    with pytest.raises(UserError, match=said), disk_errors_named(tmp_path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def a_file(place: Path) -> None:
    place.write_text("in the way")


def a_dead_link(place: Path) -> None:
    place.symlink_to(place.with_name("nowhere"))


def a_link_to_itself(place: Path) -> None:
    place.symlink_to(place)


def publish(final: Path) -> None:
    with published_directory(final):
        pass


@pytest.mark.parametrize("put", [a_file, a_dead_link, a_link_to_itself])
@pytest.mark.parametrize("write", [lambda place: write_text(place, ""), publish])
@pytest.mark.parametrize("depth", ["a", "a/b"])
def test_what_lies_in_the_place_of_a_directory_is_named(
    tmp_path: Path, put: Callable[[Path], None], write: Callable[[Path], None], depth: str
) -> None:
    put(tmp_path / "a")
    said = rf"^{tmp_path}/a: lies in the place of a directory \(.*\): move it away"
    with pytest.raises(UserError, match=said), disk_errors_named(tmp_path):
        write(tmp_path / depth / "c")


def test_a_directory_in_the_place_of_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").mkdir()
    said = rf"^{tmp_path}/config.json: lies in the place of a file \(.*\): move it away"
    with pytest.raises(UserError, match=said), disk_errors_named(tmp_path):
        write_text(tmp_path / "config.json", "")
