"""The directories of runs and sweeps: whether they can be written to, and what Hydra puts there."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from iterdpo.errors import ConfigError

HYDRA_DIR = ".hydra"
"""In the directory of a run or job: what Hydra writes before the run begins."""
ROOM = 65_536
"""Bytes that a directory must have room for before anything begins: Hydra's files and the log's."""


def require_writable(key: str, directory: Path) -> None:
    """Write a file where ``directory`` is or would be made, and leave nothing behind.

    Raises:
        ConfigError: it cannot be made or written to.
    """
    nearest = directory
    try:
        places = (directory, *directory.parents)
        nearest = next(place for place in places if place.is_symlink() or place.exists())
        with tempfile.TemporaryFile(dir=nearest) as file:
            file.write(bytes(ROOM))  # a full disk may well make an empty file
    except OSError as error:
        raise ConfigError(
            [f"{key}: {nearest} cannot be written to ({error.strerror}); name another directory"]
        ) from None


def remove_unused(run_dir: Path) -> None:
    """Remove a run directory in which only Hydra has written: its own files and the log."""
    if {path.name for path in run_dir.iterdir()} <= {HYDRA_DIR, "iterdpo.log"}:
        shutil.rmtree(run_dir)
