"""The runs that are registered in a store, gone and unreadable ones included: its roots.

A run counts as long as its directory exists. Unlike ``registry.entries``, nothing is left out here:
whoever deletes must know what it does not know.
"""

from __future__ import annotations

import json
import stat
from dataclasses import dataclass
from pathlib import Path

from iterdpo.store.identity import Ref
from iterdpo.store.registry import RUNS_DIR


@dataclass(frozen=True, slots=True)
class RunRoot:
    """One run, as it registered itself."""

    file: Path
    directory: Path
    """The run's own."""
    stages: frozenset[Ref]
    """Every stage it asked for."""
    updated: str
    """When it last did, ISO 8601."""
    exists: bool
    """Whether its directory does."""
    finished: bool = True
    problem: str = ""
    """Why the registration cannot be read; what the run uses is unknown then."""


def read_run_roots(root: Path) -> list[RunRoot]:
    """Return the registered runs of a store, by when they last asked for a stage."""
    runs = [_read(path) for path in sorted((root / RUNS_DIR).glob("[!.]*.json"))]
    return sorted((run for run in runs if run is not None), key=lambda run: run.updated)


def _read(path: Path) -> RunRoot | None:
    try:
        values = json.loads(path.read_text("utf-8"))
        directory, updated = Path(values["run_dir"]), str(values["updated"])
        named = [name.split("/") for name in values["stages"]]
        stages = frozenset(Ref(stage, key) for stage, key in named)
        finished = bool(values.get("finished", True))
    except FileNotFoundError:  # removed meanwhile
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return RunRoot(
            path, Path(), frozenset(), "", False, problem=f"{path}: is no registration of a run"
        )
    return RunRoot(path, directory, stages, updated, _exists(directory), finished)


def _exists(directory: Path) -> bool:
    try:
        return stat.S_ISDIR(directory.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:  # not ours to look into: it may well be there
        return True
