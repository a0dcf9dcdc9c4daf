"""The runs that a store knows: what each uses, and so what is no garbage."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from iterdpo.store.atomic import write_text
from iterdpo.store.hashing import sha256_of

log = logging.getLogger(__name__)

RUNS_DIR = ".runs"


@dataclass(frozen=True)
class RunEntry:
    """One run, as ``<root>/.runs/<16 hex digits>.json`` holds it."""

    run_dir: str
    """Absolute; a run whose directory is gone no longer counts."""
    config_sha256: str
    """Of the whole configuration: the same command has the same."""
    finished: bool
    stages: tuple[str, ...]
    """``<stage>/<key>`` of every result that it asked for, in order."""
    updated: str
    """When this was written, in UTC, ISO 8601."""


class RegisteredRun:
    """Keeps the entry of one run up to date. A store that is read only keeps none."""

    def __init__(self, root: Path, run_dir: Path, config_sha256: str) -> None:
        """Nothing is written yet.

        Args:
            root: the store.
            run_dir: where the run's own files lie.
            config_sha256: of its configuration.
        """
        self.root = root
        self._entry = RunEntry(str(run_dir.resolve()), config_sha256, False, (), "")

    def uses(self, stages: Iterable[str]) -> None:
        """Note every result that the run has asked for so far, as ``<stage>/<key>``."""
        self._write(replace(self._entry, stages=tuple(stages)))

    def finish(self) -> None:
        """Note that the run came to its end."""
        self._write(replace(self._entry, finished=True))

    def stopped_before(self) -> Path | None:
        """Return the directory of the latest run of the same configuration that did not finish."""
        same = [
            entry
            for entry in entries(self.root)
            if entry.config_sha256 == self._entry.config_sha256
            and not entry.finished
            and entry.run_dir != self._entry.run_dir
        ]
        found = max(same, key=lambda entry: entry.updated, default=None)
        return Path(found.run_dir) if found else None

    def _write(self, entry: RunEntry) -> None:
        self._entry = replace(entry, updated=datetime.now(UTC).isoformat(timespec="seconds"))
        name = f"{sha256_of(entry.run_dir)[:16]}.json"
        text = json.dumps(asdict(self._entry), indent=1) + "\n"
        try:
            write_text(self.root / RUNS_DIR / name, text)
        except PermissionError:
            log.debug("%s cannot be written to: the run is not registered", self.root)


def entries(root: Path) -> list[RunEntry]:
    """Return the runs that a store knows and whose directories are still there."""
    found = []
    for path in sorted((root / RUNS_DIR).glob("[!.]*.json")):
        try:
            values = json.loads(path.read_text("utf-8"))
            entry = RunEntry(**{**values, "stages": tuple(values["stages"])})
            there = Path(entry.run_dir).is_dir()
        except PermissionError as error:  # somebody else's run, and nothing to go on from
            log.debug("%s is left out (%r)", path, error)
            continue
        except (OSError, ValueError, TypeError, KeyError) as error:
            log.warning("%s cannot be read (%r) and is left out", path, error)
            continue
        if there:
            found.append(entry)
    return found
