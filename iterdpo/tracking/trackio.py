"""trackio: W&B's API with a database on this machine and a dashboard without an account."""

from __future__ import annotations

import contextlib
import importlib.util
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iterdpo.settings import Provided
from iterdpo.tracking.base import Row, RunLabel, Tracker
from iterdpo.tracking.curves import axes
from iterdpo.tracking.histograms import histogram
from iterdpo.tracking.jsonable import cell, without_secrets
from iterdpo.tracking.run_id import run_id

if TYPE_CHECKING:
    from trackio.run import Run

BINS = 32


@dataclass(kw_only=True, eq=False)
class TrackioTracker(Tracker):
    """Writes to trackio's database of a project, which ``trackio show`` opens a dashboard of.

    It lies where ``TRACKIO_DIR`` says, else in the Hugging Face cache. Nothing is sent anywhere,
    unless trackio's own variables (``TRACKIO_SPACE_ID``) say so.
    """

    run_dir: Provided[Path]
    """Keeps the name that trackio knows the run by."""
    project: str
    """The trackio project."""

    def __post_init__(self) -> None:
        if importlib.util.find_spec("trackio") is None:
            raise ValueError("trackio is not installed: pip install 'iterdpo[trackio]'")
        self._run: Run | None = None

    def start(self, config: Mapping[str, object], label: RunLabel) -> None:
        """Open the run. trackio resumes by the name, so no other run may have it."""
        import trackio

        with _quiet():
            self._run = trackio.init(
                project=self.project,
                name=f"{label.name} {run_id(self.run_dir)}",
                group=label.group,
                config={**without_secrets(config), "tags": list(label.tags), "notes": label.notes},
                resume="allow",
                embed=False,
            )

    def metrics(self, iteration: int, values: Mapping[str, float | int]) -> None:
        """Log numbers of an iteration, which is their step."""
        self._log(dict(values), iteration)

    def curve(self, name: str, rows: Sequence[Mapping[str, float]]) -> None:
        """Log a training: ``train/loss`` at the run's steps, ``train/M1/loss`` at its own."""
        axis_of = axes(dict.fromkeys(key for row in rows for key in row))
        for row in rows:
            for axis in dict.fromkeys(axis_of[key] for key in row if key in axis_of):
                values = {key: value for key, value in row.items() if axis_of.get(key) == axis}
                self._log(values, int(row[axis]))

    def table(self, iteration: int, name: str, rows: Sequence[Row]) -> None:
        """Log a table of an iteration under its name; no rows, no table."""
        import trackio

        if rows:
            columns = list(dict.fromkeys(key for row in rows for key in row))
            data = [[cell(row.get(key)) for key in columns] for row in rows]
            self._log({name: trackio.Table(columns, data)}, iteration)

    def distributions(self, iteration: int, values: Mapping[str, Sequence[float]]) -> None:
        """Log a histogram of each list of values under ``distribution/``; none of an empty one."""
        import trackio

        histograms = {
            f"distribution/{name}": trackio.Histogram(np_histogram=histogram(items, BINS))
            for name, items in values.items()
            if items
        }
        if histograms:
            self._log(histograms, iteration)

    def alarm(self, title: str, text: str) -> None:
        """Show an alert on the dashboard, and send it where ``TRACKIO_WEBHOOK_URL`` says."""
        with _quiet():
            self._opened().alert(title, text)

    def finish(self, summary: Mapping[str, object], failed: bool) -> None:
        """Close the run."""
        self._opened()
        self.abandon()

    def abandon(self) -> None:
        """Take trackio's own hook for the end of the process back."""
        import trackio

        if self._run is not None:
            with _quiet():
                trackio.finish()  # type: ignore[no-untyped-call]
            self._run = None

    def _opened(self) -> Run:
        if self._run is None:
            raise RuntimeError("the tracker is used outside start() and finish()")
        return self._run

    def _log(self, values: dict[str, Any], step: int) -> None:
        self._opened().log(values, step=step)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what trackio prints off the terminal, where the run's own result goes."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
