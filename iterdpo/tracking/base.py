"""What a tracker is, and the guard that keeps a failing one from stopping a run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

log = logging.getLogger(__name__)


class Tracker(Protocol):
    """Receives what a run measures. Called in this order: start, metrics and samples, finish."""

    def start(self, config: Mapping[str, object], run_name: str, group: str | None) -> None:
        """Open the run. ``group`` names the sweep or study it belongs to, if any."""

    def metrics(self, iteration: int, values: Mapping[str, float | int]) -> None:
        """Record numbers of an iteration (0 is M0). May be called several times for one."""

    def samples(self, iteration: int, rows: Sequence[Mapping[str, object]]) -> None:
        """Record a table of an iteration: a row an answer, the same columns in each.

        Typical columns: prompt, answer, score, and whether it was chosen or rejected.
        """

    def finish(self, summary: Mapping[str, object]) -> None:
        """Record the run's result and close it."""

    def abandon(self) -> None:
        """Let go of everything after a failure, so that nothing waits or fails at exit."""


class NoTracker:
    """Drops everything; the run directory holds it anyway."""

    def start(self, config: Mapping[str, object], run_name: str, group: str | None) -> None:
        """Do nothing."""

    def metrics(self, iteration: int, values: Mapping[str, float | int]) -> None:
        """Do nothing."""

    def samples(self, iteration: int, rows: Sequence[Mapping[str, object]]) -> None:
        """Do nothing."""

    def finish(self, summary: Mapping[str, object]) -> None:
        """Do nothing."""

    def abandon(self) -> None:
        """Do nothing."""


class Guarded:
    """Passes calls on to a tracker until one raises; then warns once and drops the rest."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker: Tracker = tracker

    def start(self, config: Mapping[str, object], run_name: str, group: str | None) -> None:
        """Open the run."""
        self._try(lambda: self._tracker.start(config, run_name, group), "start")

    def metrics(self, iteration: int, values: Mapping[str, float | int]) -> None:
        """Record numbers of an iteration."""
        self._try(lambda: self._tracker.metrics(iteration, values), "metrics")

    def samples(self, iteration: int, rows: Sequence[Mapping[str, object]]) -> None:
        """Record a table of an iteration."""
        self._try(lambda: self._tracker.samples(iteration, rows), "samples")

    def finish(self, summary: Mapping[str, object]) -> None:
        """Record the run's result and close it."""
        self._try(lambda: self._tracker.finish(summary), "finish")

    def abandon(self) -> None:
        """Let go of the tracker."""
        self._tracker.abandon()

    def _try(self, call: Callable[[], None], name: str) -> None:
        try:
            call()
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            log.warning(
                "tracking: %s.%s failed (%s); tracking is off for the rest of the run, its data "
                "stays in the run directory",
                type(self._tracker).__name__, name, reason,
            )  # fmt: skip
            failed, self._tracker = self._tracker, NoTracker()
            try:
                failed.abandon()
            except Exception as also:
                log.debug("tracking: %r while letting go of it", also)
