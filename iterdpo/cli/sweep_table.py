"""The end of a sweep: one table over its jobs, and an exit status that tells of failed ones."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback

from iterdpo.cli.console import printing
from iterdpo.cli.overrides import FAILURE_FILE
from iterdpo.evaluation.table import DASH, number
from iterdpo.runs.directory import SUMMARY_FILE, job_order


class SweepTable(Callback):
    """Prints what the jobs of a multirun came to."""

    def on_multirun_end(self, config: Any, **kwargs: Any) -> None:
        """Print the table; exit with status 1 when a job failed."""
        jobs = read_jobs(Path(config.hydra.sweep.dir))
        if not jobs:
            return
        show(jobs)
        if any(job["error"] for job in jobs):
            sys.exit(1)


def read_jobs(directory: Path) -> list[dict[str, Any]]:
    """Return each job of a sweep: its name, overrides, summary and error, in order."""
    jobs = []
    places = directory.glob("*/.hydra/overrides.yaml")
    for job in sorted((place.parent.parent for place in places), key=job_order):
        summary, failure = job / SUMMARY_FILE, job / FAILURE_FILE
        jobs.append(
            {
                "name": job.name,
                "overrides": _overrides(job / ".hydra" / "overrides.yaml"),
                "summary": json.loads(summary.read_text("utf-8")) if summary.is_file() else None,
                "error": json.loads(failure.read_text("utf-8"))["error"]
                if failure.is_file()
                else None
                if summary.is_file()
                else "ended without a result",
            }
        )
    return jobs


def show(jobs: list[dict[str, Any]]) -> None:
    """Print a row a job: its overrides and the quality of its models, or its error."""
    from rich.table import Table

    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("job", "overrides", "quality M0 → Mt"):
        table.add_column(column, overflow="fold")
    for job in jobs:
        table.add_row(job["name"], " ".join(job["overrides"]), job["error"] or _qualities(job))
    with printing() as console:
        console.print(table)


def _qualities(job: dict[str, Any]) -> str:
    models = job["summary"]["models"]
    means = [model["quality"]["mean"] if model["quality"] else None for model in models]
    return " → ".join(number(mean) for mean in means) if any(means) else DASH


def _overrides(place: Path) -> list[str]:
    from omegaconf import OmegaConf

    return [str(override) for override in OmegaConf.load(place)]
