"""Logs what a run does to a tracker, and keeps a tracker that fails from stopping the run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from iterdpo.evaluation.summary import Summary
from iterdpo.rounds import Round
from iterdpo.tracking.base import NoTracker, Tracker
from iterdpo.tracking.label import label_of
from iterdpo.tracking.metrics import without_prompts
from iterdpo.tracking.provenance import described
from iterdpo.tracking.round_logger import RoundLogger

log = logging.getLogger(__name__)


class SafeTracker:
    """What a run knows of tracking. After the first failure it warns once and drops the rest.

    What is logged is put together behind the guard as well: a number that cannot be computed for a
    chart is no reason to stop a run.

    Args:
        tracker: where to.
        samples: prompts whose answers are shown of an iteration; 0 sends no text at all.
    """

    def __init__(self, tracker: Tracker, samples: int) -> None:
        self._tracker = tracker
        self._logger = RoundLogger(tracker, samples)

    def start(self, values: Mapping[str, Any], versions: Mapping[str, str], run_dir: Path) -> None:
        """Open the run.

        Args:
            values: the resolved configuration, as plain values.
            versions: of the libraries that compute results.
            run_dir: the run's directory, where Hydra has left what the user asked for.
        """
        self._try(
            lambda: self._tracker.start(
                described(values, versions, run_dir), label_of(run_dir, values)
            ),
            "start",
        )

    def round(self, done: Round, summary: Summary) -> None:
        """Log a policy and how it came to be; ``summary`` is that of the run so far."""
        self._try(lambda: self._logger.log(done, summary), f"round {done.iteration}")

    def finish(self, summary: Summary | None, failed: bool) -> None:
        """Record the run's result, None where not even M0 was measured, and close it."""
        if summary is None:
            self._try(lambda: self._tracker.finish({}, failed), "finish")
            return
        self._try(lambda: self._logger.log_rest(summary), "finish")
        self._try(lambda: self._tracker.finish(without_prompts(summary), failed), "finish")

    def _try(self, call: Callable[[], None], name: str) -> None:
        if isinstance(self._tracker, NoTracker):
            return
        try:
            call()
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            log.warning(
                "tracking: %s failed in %s (%s); tracking is off for the rest of the run, its data "
                "stays in the run directory",
                type(self._tracker).__name__, name, reason,
            )  # fmt: skip
            failed, self._tracker = self._tracker, NoTracker()
            try:
                failed.abandon()
            except Exception as also:
                log.debug("tracking: %r while letting go of it", also)
