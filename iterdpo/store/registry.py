"""The runs that a store knows: what each uses, and so what is no garbage.

A run that lives holds a lock of its own (see ``locks``), so one that was killed is told from one
that still runs. A lock that cannot be tried counts as held: to begin anew is harmless, and two
live runs that take each other for one are not. Where a file system keeps locks to a host, a run on
another host counts as stopped.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from iterdpo.errors import UserError
from iterdpo.store.atomic import disk_errors_named, write_text
from iterdpo.store.hashing import sha256_of
from iterdpo.store.locks import HeldError, locked, refuse

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
    continues: str = ""
    """``run_dir`` of the stopped run that it continues; empty for none."""


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

    @contextmanager
    def living(self) -> Iterator[None]:
        """Hold the run's lock for the block. A store that has no locks or is read only holds none.

        Raises:
            UserError: another run lives in the same directory.
        """
        run_dir = self._entry.run_dir
        with ExitStack() as held:
            try:
                held.enter_context(locked(_lock(self.root, run_dir), waiting=refuse))
            except HeldError as error:
                raise UserError(
                    f"{run_dir}: {error}; wait until that run has ended, or name another "
                    "directory, hydra.run.dir=DIR"
                ) from None
            except UserError as error:
                log.debug("the run is not known as living (%s)", error)
            yield

    @contextmanager
    def continued(self) -> Iterator[Path | None]:
        """Yield the directory of the run that this one resumes, or None.

        It is the latest one of the same configuration that neither finished nor lives, and that no
        other run resumes. After the block it is this run's; until then nobody else gets it. A
        run whose own directory has been used before resumes there.
        """
        with ExitStack() as held:
            stopped = self._choose(held)
            yield Path(stopped.run_dir) if stopped else None
            if stopped:
                with disk_errors_named(self.root):
                    self._write(replace(self._entry, continues=stopped.run_dir))

    def _choose(self, held: ExitStack) -> RunEntry | None:
        """Choose the run to resume; while ``held`` is open, no other run chooses."""
        place = self.root / RUNS_DIR / f"config-{self._entry.config_sha256[:16]}.lock"
        try:
            held.enter_context(locked(place, poll_seconds=0.05))
        except UserError as error:
            log.debug("no run is resumed (%s)", error)
            return None
        known = entries(self.root)
        for own in known:
            if own.run_dir == self._entry.run_dir:
                self._entry = replace(self._entry, continues=own.continues)
                return None
        return self._stopped(known)

    def _stopped(self, known: Iterable[RunEntry]) -> RunEntry | None:
        taken = {entry.continues for entry in known}
        same = [
            entry
            for entry in known
            if entry.config_sha256 == self._entry.config_sha256
            and not entry.finished
            and entry.run_dir not in taken
        ]
        latest_first = sorted(same, key=lambda entry: entry.updated, reverse=True)
        return next((entry for entry in latest_first if not self._lives(entry)), None)

    def _lives(self, entry: RunEntry) -> bool:
        place = _lock(self.root, entry.run_dir)
        if not place.exists():  # a run makes it before its entry
            return False
        try:
            with locked(place, waiting=refuse, poll_seconds=0.05):
                return False
        except (HeldError, UserError) as error:
            log.debug("%s is not resumed (%s)", entry.run_dir, error)
            return True

    def _write(self, entry: RunEntry) -> None:
        self._entry = replace(entry, updated=datetime.now(UTC).isoformat(timespec="seconds"))
        name = f"{_name(entry.run_dir)}.json"
        text = json.dumps(asdict(self._entry), indent=1) + "\n"
        try:
            write_text(self.root / RUNS_DIR / name, text)
        except PermissionError:
            log.debug("%s cannot be written to: the run is not registered", self.root)


def _name(run_dir: str) -> str:
    return sha256_of(run_dir)[:16]


def _lock(root: Path, run_dir: str) -> Path:
    return root / RUNS_DIR / f"{_name(run_dir)}.lock"


def entries(root: Path) -> list[RunEntry]:
    """Return the runs that a store knows and whose directories are still there."""
    found = []
    for path in sorted((root / RUNS_DIR).glob("[!.]*.json")):
        try:
            values = json.loads(path.read_text("utf-8"))
            entry = RunEntry(**{**values, "stages": tuple(values["stages"])})
            there = Path(entry.run_dir).is_dir()
        except PermissionError as error:  # somebody else's run, and nothing to resume
            log.debug("%s is left out (%r)", path, error)
            continue
        except (OSError, ValueError, TypeError, KeyError) as error:
            log.warning("%s cannot be read (%r) and is left out", path, error)
            continue
        if there:
            found.append(entry)
    return found
