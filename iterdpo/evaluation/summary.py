"""A run's result: everything that was measured of it, each number from a stored stage.

It grows with every model, is what the console, the trackers, the report and the cards read, and
lies in the run's directory as ``summary.json`` (``summary_file``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import ConfigDict, StringConstraints, with_config

from iterdpo.engines.canary import CanaryResult
from iterdpo.engines.usage import Usage
from iterdpo.evaluation import baselines
from iterdpo.evaluation.baselines import TemperatureBaseline
from iterdpo.evaluation.best import Best
from iterdpo.evaluation.gains import Gains
from iterdpo.evaluation.head_to_head import HeadToHead
from iterdpo.evaluation.health import Alarm, HealthMetrics
from iterdpo.evaluation.pairs import PairQuality
from iterdpo.evaluation.ratings import Rating
from iterdpo.evaluation.report import Evaluation
from iterdpo.evaluation.statistics import Estimate

SUMMARY_VERSION = 2
"""Raised when a summary has other fields, or a field means something else."""

Address = Annotated[str, StringConstraints(pattern="^[^/]+/[^/]+$")]
"""A stage's place below the store's root, ``<stage>/<key>``."""


@dataclass(frozen=True, slots=True)
class ModelStages:
    """Where the records that a model was measured on lie."""

    policy: Address
    evaluation: Address
    held_out: Address
    """The prompts that every model answers."""
    sampled: Address
    greedy: Address
    own_judgments: Address
    """Of ``sampled``, by the model itself or by the judge in its place."""
    reference_prompts: Address
    """Those of the judge reference set."""
    reference_answers: Address
    """M0's answers to them."""
    reference_judgments: Address
    """The judgments of these answers."""
    health: Address


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """One policy: who it is, and what was measured of it."""

    name: str
    iteration: int
    """That made it, from 1; 0 for M0."""
    fingerprint: str
    adapter_sha256: str | None
    """None without an adapter."""
    parent: str | None
    """Name of the policy that it was trained from; None for M0."""
    checkpoint: str
    """Directory of its base."""
    evaluation: Evaluation
    gains: Gains | None
    """None for M0, and without an oracle."""
    agreement_with_previous: Estimate | None
    """Mean over prompts of Kendall's τ-b between its scores of the judge reference set and those
    of the judge before. None where there is none, or the judgments are the very same."""
    health: HealthMetrics
    stages: ModelStages


@dataclass(frozen=True, slots=True)
class JudgmentCounts:
    """How many of an iteration's candidates got a score."""

    scored: int
    unscored: int
    reasons: Mapping[str, int]
    """Why not, by ``UnscoredReason``."""


@dataclass(frozen=True, slots=True)
class PairSummary:
    """What became of an iteration's prospective pairs."""

    kept: int
    dropped: Mapping[str, int]
    """By ``DropReason``."""
    quality: PairQuality
    """Of those kept."""


@dataclass(frozen=True, slots=True)
class TrainingSummary:
    """What a training on preference pairs came to; losses in nats."""

    pairs: int
    """Trained on."""
    prompts_too_long: int
    """Pairs left out because their prompt leaves no room for an answer."""
    steps: int
    """Optimizer steps."""
    step0_loss: float
    """TRL's, of the first batch before any update."""
    step0_expected_loss: float
    """The same by the papers' arithmetic on independent log-probs."""
    step0_largest_reward: float
    final_loss: float
    reference_sha256: str | None
    """None, like ``reference_unchanged``, of a training without a reference."""
    reference_unchanged: bool | None
    engine_gap: float
    """Largest difference of engine and trainer in an answer's log-prob, in nats."""


@dataclass(frozen=True, slots=True)
class StageUsage:
    """Tokens that one stage sent through the engine."""

    prompt_tokens: int
    cached_prompt_tokens: int
    """Of these, those that the prefix cache held."""
    generated_tokens: int
    tokens_per_second: float
    """Read and written together."""


@dataclass(frozen=True, slots=True)
class IterationStages:
    """Where an iteration's records lie."""

    prompts: Address
    candidates: Address
    judgments: Address
    pairs: Address
    adapter: Address | None
    """None where no pair was left to train on."""


@dataclass(frozen=True, slots=True)
class IterationSummary:
    """What one iteration made on the way to its policy, and what that took."""

    iteration: int
    """From 1."""
    prompts: int
    candidates: int
    judgments: JudgmentCounts
    pairs: PairSummary
    training: TrainingSummary | None
    """None where no pair was left: the policy stayed as it was."""
    generated_tokens: int
    """Of the candidates."""
    generated_tokens_new: int
    """Those that this run wrote itself, rather than read from the store."""
    usage: Mapping[str, StageUsage]
    """Of writing and of judging, by stage."""
    seconds: Mapping[str, float]
    """By stage, when it was computed."""
    peak_memory: Mapping[str, Mapping[str, int | None]]
    """Bytes of ``ram`` and ``gpu`` by stage."""
    stages: IterationStages


@dataclass(frozen=True, slots=True)
class ComparisonSummary:
    """A model's answers against an opponent's."""

    model: str
    opponent: str
    judge: str
    """Who compared: ``oracle``, ``initial`` (M0) or ``external``."""
    baseline: str | None
    """``temperature T`` or ``greedy`` where M0's answers are a baseline; None where both models'
    sampled answers meet."""
    result: HeadToHead
    stage: Address
    """The single comparisons."""

    @property
    def opponent_name(self) -> str:
        """The opponent as people read it: ``M0``, or ``M0, temperature 0.4``."""
        return self.opponent if self.baseline is None else f"{self.opponent}, {self.baseline}"


@dataclass(frozen=True, slots=True)
class BaselineSummary:
    """M0 at one lower temperature."""

    result: TemperatureBaseline
    answers: Address


@dataclass(frozen=True, slots=True)
class EarlyStop:
    """An end before the last iteration, by an alarm."""

    iteration: int
    message: str


@dataclass(frozen=True, slots=True)
class EngineSummary:
    """The engine of a run, and what it spent in it, in all starts as far as they wrote it."""

    identity: Mapping[str, object]
    """What of it enters keys."""
    starts: int
    """How often a model was loaded, in all starts of the run."""
    usage: Usage

    @property
    def name(self) -> str:
        return str(self.identity.get("engine"))

    @property
    def device(self) -> str:
        return str(self.identity.get("device"))


@dataclass(frozen=True, slots=True)
class StageSeconds:
    """What one stage took when it was computed."""

    stage: Address
    seconds: float


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What identifies a run, and what it took."""

    engine: EngineSummary
    seed: int
    config_sha256: str
    wall_seconds: float
    """Since the last start of the command: little where the store had the results."""
    stage_seconds: tuple[StageSeconds, ...]
    """Of every stage of the run, whoever computed it."""
    versions: Mapping[str, str]
    """Of the libraries."""


@with_config(ConfigDict(extra="forbid", strict=True))
@dataclass(frozen=True, slots=True)
class Summary:
    """A run's result as far as the run is done: M0 at least."""

    version: int
    """``SUMMARY_VERSION``."""
    iterdpo: str
    """Version of the package that wrote it."""
    models: tuple[ModelSummary, ...]
    """M0 first."""
    iterations: tuple[IterationSummary, ...]
    comparisons: tuple[ComparisonSummary, ...]
    against_baselines: tuple[ComparisonSummary, ...]
    """Every model against M0 at lower temperatures and greedily, where no oracle compares."""
    ratings: tuple[Rating, ...]
    """Of all models that comparisons connect with M0."""
    temperature_baselines: tuple[BaselineSummary, ...]
    """Empty without an oracle."""
    alarms: tuple[Alarm, ...]
    best: Best
    stopped: EarlyStop | None
    canaries: Mapping[str, CanaryResult]
    """By the fingerprint of each policy that the engine applied."""
    run: RunSummary

    @property
    def strongest_baseline(self) -> TemperatureBaseline | None:
        """The temperature baseline that a trained model has to beat."""
        return baselines.strongest([item.result for item in self.temperature_baselines])

    def comparison(self, model: str, opponent: str) -> ComparisonSummary | None:
        """Return a model's comparison with an opponent, if the two met."""
        met = (
            item for item in self.comparisons if (item.model, item.opponent) == (model, opponent)
        )
        return next(met, None)

    def iteration(self, number: int) -> IterationSummary | None:
        """Return an iteration by its number from 1; None for M0's, 0."""
        return next((item for item in self.iterations if item.iteration == number), None)

    def alarms_of(self, iteration: int) -> tuple[Alarm, ...]:
        """Return the alarms that an iteration's model raised."""
        return tuple(alarm for alarm in self.alarms if alarm.iteration == iteration)
