"""The end of a sweep: one table over its jobs, and an exit status that tells of failed ones."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback

from iterdpo.cli.console import printing
from iterdpo.cli.overrides import FAILURE_FILE
from iterdpo.errors import UserError
from iterdpo.evaluation.summary import Summary
from iterdpo.evaluation.summary_file import SUMMARY_FILE, read_summary
from iterdpo.runs.directory import job_order
from iterdpo.runtime.formatting import DASH, number


class SweepTable(Callback):
    """Prints what the jobs of a multirun came to."""

    def on_multirun_end(self, config: Any, **kwargs: Any) -> None:
        """Print the table; exit with status 1 when a job failed."""
        jobs = read_jobs(Path(config.hydra.sweep.dir))
        if not jobs:
            return
        show(jobs)
        if any(job.error for job in jobs):
            sys.exit(1)


@dataclass(frozen=True)
class Job:
    """One job of a sweep."""

    name: str
    overrides: tuple[str, ...]
    summary: Summary | None
    error: str | None
    """Why it has no result."""


def read_jobs(directory: Path) -> list[Job]:
    """Return each job of a sweep, in order."""
    places = directory.glob("*/.hydra/overrides.yaml")
    jobs = sorted((place.parent.parent for place in places), key=job_order)
    return [_job(place) for place in jobs]


def show(jobs: Sequence[Job]) -> None:
    """Print a row a job: its overrides and the quality of its models, or its error."""
    from rich.table import Table

    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("job", "overrides", "quality M0 → Mt"):
        table.add_column(column, overflow="fold")
    for job in jobs:
        table.add_row(job.name, " ".join(job.overrides), job.error or _qualities(job))
    with printing() as console:
        console.print(table)


def _job(place: Path) -> Job:
    failure = place / FAILURE_FILE
    summary: Summary | None = None
    error: str | None = "ended without a result"
    if (place / SUMMARY_FILE).is_file():
        try:
            summary, error = read_summary(place), None
        except UserError as unreadable:
            error = str(unreadable)
    if failure.is_file():
        error = json.loads(failure.read_text("utf-8"))["error"]
    return Job(place.name, _overrides(place / ".hydra" / "overrides.yaml"), summary, error)


def _qualities(job: Job) -> str:
    assert job.summary is not None
    found = [model.evaluation.quality for model in job.summary.models]
    means = [quality.mean if quality else None for quality in found]
    return " → ".join(number(mean) for mean in means) if any(means) else DASH


def _overrides(place: Path) -> tuple[str, ...]:
    from omegaconf import OmegaConf

    return tuple(str(override) for override in OmegaConf.load(place))
