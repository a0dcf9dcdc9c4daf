"""Which checkpoint a run's models stand on, in words that hold on another machine."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from iterdpo.data.rows import suffix_of
from iterdpo.runs.directory import Run

_HUB_ID: Final = re.compile(r"[\w.-]+/[\w.-]+")
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
# A path with a directory, where a value begins: not the rest of a URL.
_PLACE: Final = re.compile(r"""(?<![^\s=,\["'(])(?:~|\.{0,2})/[^\s,\]"']*/([^/\s,\]"']+)""")


@dataclass(frozen=True)
class Origin:
    """A checkpoint as others can find it."""

    hub_id: str | None
    """Its repository on the Hub; None for a checkpoint from somewhere else."""
    revision: str | None
    """The commit, or what the run was told of it."""
    shown: str
    """What to call it."""

    @classmethod
    def of(cls, run: Run) -> Origin:
        """Return what the run was started from, before any fine-tuning of its own."""
        path: str = run.values["model"]["path"]
        if path == "lab":
            return cls(None, None, "lab-seed")
        if _HUB_ID.fullmatch(path) and not Path(path).is_dir():
            commit = _snapshot(run.policy("M0").base.path) or run.values["model"]["revision"]
            return cls(path, commit, path)
        return cls(None, None, Path(path).name)

    @property
    def as_python(self) -> str:
        """The expression that ``from_pretrained`` takes, as Python."""
        return repr(self.hub_id or f"path/to/{self.shown}")


def hub_id_of(path: str) -> str | None:
    """Return the repository of the Hub that a setting for data names; None where it names files."""
    is_file = suffix_of(Path(path)) is not None or Path(path).exists()
    return path if _HUB_ID.fullmatch(path) and not is_file else None


def without_places(text: str) -> str:
    """Return ``text`` with the directories of this machine cut off every path: they tell a user's
    name, and nobody else has them.
    """
    if text.startswith(("/", "~/", "./", "../")):  # a path alone, which may hold blanks
        return Path(text).name or text
    return _PLACE.sub(r"\1", text)


def _snapshot(checkpoint: str) -> str | None:
    """Return the commit that a checkpoint in the Hub's cache was taken at."""
    parts = Path(checkpoint).parts
    if "snapshots" not in parts[:-1]:
        return None
    commit = parts[parts.index("snapshots") + 1]
    return commit if _COMMIT.fullmatch(commit) else None
