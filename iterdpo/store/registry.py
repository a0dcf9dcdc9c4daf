"""The runs that a store knows: what each uses, and so what is no garbage.

A run is a configuration in a directory. One that lives holds the lock of its directory (see
``locks``), whatever store it uses, so one that was killed is told from one that still runs. A lock
that cannot be tried counts as held: to begin anew is harmless, and two live runs that take each
other for one are not. Where a file system keeps locks to a host, a run on another host counts as
stopped.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from iterdpo.errors import UserError
from iterdpo.store.atomic import disk_errors_named, write_text
from iterdpo.store.hashing import sha256_of
from iterdpo.store.locks import HeldError, locked, refuse

log = logging.getLogger(__name__)

RUNS_DIR = ".runs"

_LOCK_FILE = ".lock"
_UNKNOWN = "unknown"
"""Stands for stages in a damaged entry; no name of a stage, so nothing is deleted meanwhile."""


@dataclass(frozen=True)
class RunEntry:
    """One run, as a file in ``<root>/.runs`` holds it."""

    run_dir: str
    """Absolute; a run whose directory is gone no longer counts."""
    config_sha256: str
    """Of the whole configuration: the same command has the same."""
    finished: bool
    stages: tuple[str, ...]
    """``<stage>/<key>`` of every result that it asked for, in order; until it came to its end, also
    of those that it had asked for before it was started again."""
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
        self._used: tuple[str, ...] = ()

    def uses(self, stages: Iterable[str]) -> None:
        """Note every result that the run has asked for so far, as ``<stage>/<key>``."""
        self._used = tuple(stages)
        # Started again and stopped at once, the run still needs what it had.
        every = dict.fromkeys([*self._used, *self._before])
        self._write(replace(self._entry, stages=tuple(every)))

    def finish(self) -> None:
        """Note that the run came to its end."""
        self._write(replace(self._entry, stages=self._used, finished=True))

    @contextmanager
    def living(self) -> Iterator[None]:
        """Hold the lock of the run's directory for the block, unless there are no locks there.

        Raises:
            UserError: another run lives in the same directory.
        """
        run_dir = self._entry.run_dir
        with ExitStack() as held:
            try:
                held.enter_context(locked(Path(run_dir) / _LOCK_FILE, waiting=refuse))
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
        here = [entry for entry in known if entry.run_dir == self._entry.run_dir]
        for entry in here:
            if entry.config_sha256 == self._entry.config_sha256:
                self._entry = replace(self._entry, continues=entry.continues)
        return None if here else self._stopped(known)

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
        place = Path(entry.run_dir) / _LOCK_FILE
        try:
            if not place.exists():  # a run makes it before its entry
                return False
            with locked(place, waiting=refuse, poll_seconds=0.05):
                return False
        except (HeldError, UserError, OSError) as error:
            log.debug("%s is not resumed (%s)", entry.run_dir, error)
            return True

    @cached_property
    def _before(self) -> tuple[str, ...]:
        """The stages that the same run had asked for when it was last started."""
        if not self._file.is_file():
            return ()
        entry = _read(self._file)
        return entry.stages if entry else (_UNKNOWN,)

    @property
    def _file(self) -> Path:
        run = sha256_of([self._entry.run_dir, self._entry.config_sha256])
        return self.root / RUNS_DIR / f"{run[:16]}.json"

    def _write(self, entry: RunEntry) -> None:
        self._entry = replace(entry, updated=datetime.now(UTC).isoformat(timespec="seconds"))
        with disk_errors_named(self.root):
            try:
                write_text(self._file, json.dumps(asdict(self._entry), indent=1) + "\n")
            except PermissionError:
                log.debug("%s cannot be written to: the run is not registered", self.root)


def entries(root: Path) -> list[RunEntry]:
    """Return the runs that a store knows and whose directories are still there."""
    found = [_read(path) for path in sorted((root / RUNS_DIR).glob("[!.]*.json"))]
    return [entry for entry in found if entry and _there(entry)]


def _read(path: Path) -> RunEntry | None:
    try:
        values = json.loads(path.read_text("utf-8"))
        return RunEntry(**{**values, "stages": tuple(map(str, values["stages"]))})
    except PermissionError as error:  # somebody else's run, and nothing to resume
        log.debug("%s is left out (%r)", path, error)
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        log.warning("%s cannot be read (%r) and is left out", path, error)
    return None


def _there(entry: RunEntry) -> bool:
    try:
        return Path(entry.run_dir).is_dir()
    except (OSError, ValueError, TypeError) as error:
        log.debug("%s is left out (%r)", entry.run_dir, error)
        return False
