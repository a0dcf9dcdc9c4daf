"""Weights & Biases: one run, with the iteration as the step axis of all but the training curves."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from iterdpo.settings import Provided
from iterdpo.tracking.base import Row, RunLabel, StageArtifact, Tracker
from iterdpo.tracking.curves import STEP, axes, own_step
from iterdpo.tracking.histograms import histogram
from iterdpo.tracking.jsonable import cell, clipped, plain, without_secrets
from iterdpo.tracking.run_id import forget_run_id, run_id
from iterdpo.tracking.wandb_environment import Mode, Resolved, resolve_mode, surroundings

if TYPE_CHECKING:
    import wandb

log = logging.getLogger(__name__)

Artifacts = Literal["none", "reference", "upload"]

INIT_SECONDS = 20.0  # how long an unreachable server may delay the start
FINISH_SECONDS = 60.0  # and the end; what was not uploaded stays on disk for `wandb sync`
ARTIFACT_SECONDS = 60  # and an artifact that another is made from
ALERT_SECONDS = 24 * 3600  # a resumed run raises its alarms again; W&B drops them for so long
TITLE_LENGTH = 63  # characters, W&B's limit for an alert
BINS = 32
TYPES = {"adapter": "model", "weights": "model", "pairs": "dataset"}
"""W&B's word for each kind of artifact."""


@dataclass(kw_only=True, eq=False)
class WandbTracker(Tracker):
    """Writes to W&B online, or to files that ``wandb sync`` uploads later."""

    run_dir: Provided[Path]
    """W&B's files go below it; it is created."""
    project: str
    """The W&B project."""
    entity: str | None
    """User or team; null for the user's default."""
    mode: Mode
    """``auto`` is what ``WANDB_MODE`` says, else online for a user who is logged in and offline for
    others. An online run whose server cannot be reached continues offline."""
    artifacts: Artifacts
    """Adapters and pairs. ``reference``: their place on this machine, size and hash. ``upload``:
    the files as well. ``none``: neither."""

    def __post_init__(self) -> None:
        self._run: wandb.Run | None = None
        self._resolved: Resolved = "disabled"
        self._logged: dict[tuple[str, str], wandb.Artifact] = {}

    def start(self, config: Mapping[str, object], label: RunLabel) -> None:
        """Open the run; a run continued in the same directory keeps the same id."""
        self._resolved = resolve_mode(self.mode, os.environ)
        settings = without_secrets(config)
        try:
            self._run = self._open(self._resolved, settings, label)
        except Exception as error:
            if self._resolved != "online":
                raise
            reason = " ".join(str(error).split())
            log.warning("tracking: W&B cannot be used online (%s); continuing offline", reason)
            # The failed attempt keeps its id until the process ends.
            forget_run_id(self.run_dir)
            self._resolved = "offline"
            self._run = self._open(self._resolved, settings, label)
        _forget_imports()
        self._run.define_metric("iteration")
        self._run.define_metric("*", step_metric="iteration")

    def metrics(self, iteration: int, values: Mapping[str, float | int]) -> None:
        """Log numbers of an iteration."""
        self._opened().log({**values, "iteration": iteration})

    def curve(self, name: str, rows: Sequence[Mapping[str, float]]) -> None:
        """Log a training, a row a step, against its own steps and against those of the run."""
        run = self._opened()
        # By full names: which of two patterns wins where both match, W&B does not say.
        for axis in (STEP, own_step(name)):
            run.define_metric(axis, hidden=True)
        for number, axis in axes(dict.fromkeys(key for row in rows for key in row)).items():
            run.define_metric(number, step_metric=axis)
        for row in rows:
            run.log(dict(row))

    def table(self, iteration: int, name: str, rows: Sequence[Row]) -> None:
        """Log a table of an iteration under its name; no rows, no table."""
        import wandb

        if not rows:
            return
        columns: list[str | int] = list(dict.fromkeys(key for row in rows for key in row))
        data = [[cell(row.get(str(key))) for key in columns] for row in rows]
        with surroundings(self.run_dir):
            table = wandb.Table(columns=columns, data=data, allow_mixed_types=True)
            self._opened().log({"iteration": iteration, name: table})

    def distributions(self, iteration: int, values: Mapping[str, Sequence[float]]) -> None:
        """Log a histogram of each list of values under ``distribution/``; none of an empty one."""
        import wandb

        histograms = {
            f"distribution/{name}": wandb.Histogram(np_histogram=histogram(items, BINS))
            for name, items in values.items()
            if items
        }
        if histograms:
            self._opened().log({"iteration": iteration, **histograms})

    def alarm(self, title: str, text: str) -> None:
        """Send an alert, by mail or Slack as the user has set up at W&B.

        Online only: offline it would be sent on ``wandb sync``, when it is news to nobody.
        """
        if self._resolved == "online":
            title = clipped(title, TITLE_LENGTH)
            self._opened().alert(title, text, "WARN", wait_duration=ALERT_SECONDS)

    def artifact(self, artifact: StageArtifact) -> None:
        """Log a stage under ``<kind>-<run id>`` with the policy's name as its alias."""
        import wandb

        run = self._opened()
        if self.artifacts == "none" or self._resolved == "disabled":
            return
        with surroundings(self.run_dir):
            made = wandb.Artifact(
                f"{artifact.kind}-{run.id}", TYPES[artifact.kind],
                metadata=without_secrets(artifact.metadata),
            )  # fmt: skip
            for name in artifact.files:
                file = (artifact.directory / name).resolve()
                if self.artifacts == "upload":
                    # The store never changes a file, so W&B needs no copies of its own.
                    made.add_file(str(file), name=name, policy="immutable", skip_cache=True)
                else:
                    made.add_reference(file.as_uri(), name=name)
            for parent in artifact.made_from:
                self._use(parent)
            self._logged[artifact.kind, artifact.name] = run.log_artifact(
                made, aliases=[artifact.name]
            )

    def finish(self, summary: Mapping[str, object], failed: bool) -> None:
        """Write the summary and close the run."""
        run = self._opened()
        # Beside the last of each number, which has the number's own name there.
        run.summary.update({"result": plain(summary)})
        run.finish(exit_code=int(failed))
        self._run = None

    def abandon(self) -> None:
        """Take W&B's own hooks for the end of the process back: they would raise once more."""
        import wandb

        wandb.teardown()

    def _opened(self) -> wandb.Run:
        if self._run is None:
            raise RuntimeError("the tracker is used outside start() and finish()")
        return self._run

    def _use(self, parent: tuple[str, str]) -> None:
        """Tell W&B that the run uses what it made before. Only a server can: offline, the artifacts
        name what they come from in their metadata alone.
        """
        import wandb

        if self._resolved != "online" or parent not in self._logged:
            return
        try:
            self._opened().use_artifact(self._logged[parent].wait(ARTIFACT_SECONDS))
        except (wandb.Error, ValueError) as error:
            reason = " ".join(str(error).split())
            log.warning("tracking: W&B will not show the use of %s %s (%s)", *parent, reason)

    def _open(self, mode: Resolved, config: Mapping[str, object], label: RunLabel) -> wandb.Run:
        import wandb

        self.run_dir.mkdir(parents=True, exist_ok=True)
        settings = wandb.Settings(
            silent=True,
            console="off",
            disable_code=True,
            disable_git=True,
            init_timeout=INIT_SECONDS,
            finish_timeout=FINISH_SECONDS,
        )
        with surroundings(self.run_dir):
            return wandb.init(
                dir=str(self.run_dir),
                project=self.project,
                entity=self.entity,
                mode=mode,
                name=label.name,
                group=label.group,
                job_type=label.job_type,
                tags=label.tags,
                notes=label.notes,
                config=dict(config),
                id=run_id(self.run_dir),
                resume="allow" if mode == "online" else None,
                # Runs of a sweep may share a process; none may end another.
                reinit="create_new",
                settings=settings,
            )


def _forget_imports() -> None:
    """Take W&B's telemetry of imports away: with its process dead, every import would fail."""
    from wandb.sdk.lib import import_hooks

    import_hooks.unregister_all_post_import_hooks()
