"""Errors of a disk are a line that says what it lacks."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from iterdpo.errors import UserError
from iterdpo.store.atomic import disk_errors_named


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
