"""What a tracker is: it receives what a run measures, as plain data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Row = Mapping[str, object]


@dataclass(frozen=True)
class RunLabel:
    """What a run is called, and what it is found and compared by."""

    name: str
    """What differs from its siblings, such as ``beta=0.3 seed=1``."""
    group: str | None = None
    """The sweep or study it belongs to."""
    tags: tuple[str, ...] = ()
    notes: str = ""
    job_type: str = "loop"


@dataclass(frozen=True)
class StageArtifact:
    """A finished stage as something that other runs may use: a model, or a set of pairs."""

    kind: Literal["adapter", "weights", "pairs"]
    """``weights``: a model of which every weight was trained, where ``adapter`` goes on a base."""
    name: str
    """The policy that it is, or that was trained on it: ``M1``."""
    directory: Path
    """The stage's place in the store. Its files never change."""
    files: tuple[str, ...]
    """Relative to ``directory``."""
    metadata: Mapping[str, object]
    made_from: tuple[tuple[str, str], ...] = ()
    """Kind and name of those told of before that it comes from."""


class Tracker(ABC):
    """Receives what a run measures.

    A choice is a dataclass of its settings, with ``run_dir: Provided[Path]`` where it keeps files.
    ``metrics`` is all that it must have. ``start`` comes first and ``finish`` last; the others may
    come in any order and number between them. Any of them may raise: ``SafeTracker`` keeps that
    from the run.
    """

    def start(self, config: Mapping[str, object], label: RunLabel) -> None:
        """Open the run."""

    @abstractmethod
    def metrics(self, iteration: int, values: Mapping[str, float | int]) -> None:
        """Record numbers of an iteration (0 is M0). May be called several times for one."""

    def curve(self, name: str, rows: Sequence[Mapping[str, float]]) -> None:
        """Record the training of the policy ``name``: a row a step, each with its step axes."""

    def table(self, iteration: int, name: str, rows: Sequence[Row]) -> None:
        """Record a table of an iteration, the same columns in each row."""

    def distributions(self, iteration: int, values: Mapping[str, Sequence[float]]) -> None:
        """Record how values lie, each under its name."""

    def alarm(self, title: str, text: str) -> None:
        """Tell a person, where there is a way to, that something looks wrong."""

    def artifact(self, artifact: StageArtifact) -> None:
        """Record a finished stage and what it was made from."""

    def finish(self, summary: Mapping[str, object], failed: bool) -> None:
        """Record the run's result, whether it ended early, and close it."""

    def abandon(self) -> None:
        """Let go of everything after a failure, so that nothing waits or fails at exit."""


@dataclass(frozen=True)
class NoTracker(Tracker):
    """Drops everything; the run directory holds it anyway."""

    def metrics(self, iteration: int, values: Mapping[str, float | int]) -> None:
        """Do nothing."""
