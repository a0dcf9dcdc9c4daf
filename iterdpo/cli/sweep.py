"""A sweep: what its jobs leave when they fail, one table at its end, and its exit status."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback

from iterdpo.cli.console import printing
from iterdpo.cli.directories import HYDRA_DIR, require_writable
from iterdpo.errors import ConfigError, UserError
from iterdpo.evaluation.summary import Summary
from iterdpo.evaluation.summary_file import SUMMARY_FILE, read_summary
from iterdpo.runs.directory import job_order
from iterdpo.runtime.formatting import DASH, number
from iterdpo.runtime.signals import process_request
from iterdpo.runtime.terminal import harmless, say
from iterdpo.store.atomic import disk_errors_named, write_text

log = logging.getLogger(__name__)

FAILURE_FILE = "failure.json"
OVERRIDES_FILE = f"{HYDRA_DIR}/overrides.yaml"


class Sweep(Callback):
    """Says at the end of a multirun what its jobs came to."""

    def __init__(self) -> None:
        self._before: Mapping[Path, int] = {}

    def on_multirun_start(self, config: Any, **kwargs: Any) -> None:
        """See that there is room, and note what earlier sweeps left: it is not of this one.

        A directory that cannot be written to ends the program with 2, before any job.
        """
        directory = Path(config.hydra.sweep.dir)
        try:
            for place in (directory, *directory.glob("[0-9]*")):
                require_writable("hydra.sweep.dir", place / HYDRA_DIR)
            require_writable("store.root", Path(config.store.root))
        except ConfigError as error:
            say(f"iterdpo: {error}")
            sys.exit(2)
        self._before = _written(directory)

    def on_multirun_end(self, config: Any, **kwargs: Any) -> None:
        """Print the table, unless a signal ended the sweep; exit with 1 when a job failed."""
        if process_request().requested:
            return
        failed = True
        try:
            written = _written(Path(config.hydra.sweep.dir)).items()
            places = [file.parents[1] for file, when in written if self._before.get(file) != when]
            jobs = [_job(place) for place in sorted(places, key=job_order)]
            failed = any(job.error for job in jobs)
            show(jobs)
        except Exception:  # Hydra would go on as if all were well
            log.exception("the table of the sweep cannot be shown")
        if failed:
            sys.exit(1)


@dataclass(frozen=True)
class Job:
    """One job of a sweep."""

    name: str
    overrides: tuple[str, ...]
    summary: Summary | None
    error: str | None
    """Why it has no result."""


def note_failure(run_dir: Path, error: Exception) -> bool:
    """Leave why a job failed in its directory, for the end of the sweep; say whether it could be.

    The other jobs continue, which they had better not where the end could not tell of this one.
    """
    try:
        write_text(run_dir / FAILURE_FILE, json.dumps({"error": str(error)}) + "\n")
    except OSError as problem:
        log.error("%s: cannot be written (%s)", run_dir / FAILURE_FILE, problem.strerror)
        return False
    return True


def forget_failure(run_dir: Path) -> None:
    """Remove what an earlier try of the same job left: it ends with that try."""
    with disk_errors_named(run_dir, "another directory"):
        (run_dir / FAILURE_FILE).unlink(missing_ok=True)


def show(jobs: Sequence[Job]) -> None:
    """Print a row a job: its overrides and the quality of its models, or its error."""
    from rich.table import Table

    if not jobs:
        return
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("job", "overrides", "quality M0 → Mt"):
        table.add_column(column, overflow="fold")
    for job in jobs:
        cells = (job.name, " ".join(job.overrides), job.error or _qualities(job))
        table.add_row(*map(harmless, cells))
    with printing() as console:
        console.print(table)


def _written(directory: Path) -> dict[Path, int]:
    """Return what Hydra wrote at the start of each job below a directory, and when, in ns."""
    # Several levels down where hydra.sweep.subdir says so.
    return {file: file.stat().st_mtime_ns for file in directory.rglob(OVERRIDES_FILE)}


def _job(place: Path) -> Job:
    failure = place / FAILURE_FILE
    summary: Summary | None = None
    error: str | None = "ended without a result"
    if failure.is_file():
        with suppress(OSError, ValueError, TypeError, KeyError):
            error = str(json.loads(failure.read_text("utf-8"))["error"])
    elif (place / SUMMARY_FILE).is_file():
        try:
            summary, error = read_summary(place), None
        except UserError as unreadable:
            error = str(unreadable)
    return Job(place.name, _overrides(place / OVERRIDES_FILE), summary, error)


def _qualities(job: Job) -> str:
    assert job.summary is not None
    found = [model.evaluation.quality for model in job.summary.models]
    means = [quality.mean if quality else None for quality in found]
    return " → ".join(number(mean) for mean in means) if any(means) else DASH


def _overrides(place: Path) -> tuple[str, ...]:
    from omegaconf import OmegaConf

    return tuple(str(override) for override in OmegaConf.load(place))
