"""What the loop yields: each policy with what was measured of it, and what its iteration made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from iterdpo.evaluation.baselines import TemperatureBaseline
    from iterdpo.evaluation.gains import Gains
    from iterdpo.evaluation.head_to_head import HeadToHead
    from iterdpo.evaluation.health import Health
    from iterdpo.evaluation.pairs import PairQuality
    from iterdpo.evaluation.ratings import Rating
    from iterdpo.evaluation.report import Evaluation
    from iterdpo.evaluation.statistics import Estimate
    from iterdpo.records import Policy
    from iterdpo.stages.base import Candidates, Comparisons, Judgments, Pairs, Prompts
    from iterdpo.store.stage import Stored


@dataclass(frozen=True)
class IterationResult:
    """What one iteration made, on the way from one policy to the next."""

    start: Stored[Policy]
    """The policy it started from."""
    prompts: Prompts
    candidates: Candidates
    judgments: Judgments
    pairs: Pairs
    trained: Stored[Policy] | None
    """None where no pair was left and the policy stayed as it was."""


@dataclass(frozen=True)
class PolicyComparison:
    """A policy's answers against an opponent's."""

    opponent: PolicyEvaluation
    comparisons: Comparisons
    result: Stored[HeadToHead]
    baseline: str | None = None
    """None: the sampled answers of both. ``temperature T``: the sampled ones against M0's at T;
    ``greedy``: the greedy ones of both, which no temperature improves."""


@dataclass(frozen=True)
class PolicyEvaluation:
    """A policy, and everything that was measured of it."""

    policy: Stored[Policy]
    sampled: Candidates
    """Its sampled answers to the held-out prompts, which meet the opponents'."""
    greedy: Candidates
    """Its greedy ones."""
    reference_judgments: Judgments
    """Its judgments of the judge reference set: M0's answers to prompts of their own."""
    evaluation: Stored[Evaluation]
    pair_quality: Stored[PairQuality] | None
    """Of the pairs that its iteration made; None for M0."""
    gains: Stored[Gains] | None
    """None for M0, and without an oracle."""
    agreement: Stored[Estimate | None] | None
    """With the judge before; None for M0, and where the judgments are the very same."""
    comparisons: tuple[PolicyComparison, ...]
    """With the policy that the iteration started from, and with M0. Empty without an arbiter, and
    for a policy that stayed as it was: it has met them before."""
    ratings: Stored[tuple[Rating, ...]] | None
    """Of all policies so far; None while none have met."""
    health: Stored[Health]
    parent: PolicyEvaluation | None
    """The policy that the iteration started from; None for M0."""
    stops: bool
    """Whether an alarm ends the run with this policy."""
    next_start: Stored[Policy]
    """The policy that the next iteration starts from: this one, or the best so far."""
    baseline_answers: tuple[tuple[float, Candidates], ...] = ()
    """M0's answers at lower temperatures, by temperature: what sharpening alone would gain."""
    baselines: Stored[tuple[TemperatureBaseline, ...]] | None = None
    """How good these are; None without an oracle."""
    against_baselines: tuple[PolicyComparison, ...] = ()
    """What an arbiter that is no oracle said of its answers against what M0 writes without
    learning anything. Empty for M0, and without baselines."""


@dataclass(frozen=True)
class Round:
    """A policy and what was measured of it. Round 0 is M0, which nothing here made."""

    iteration: int
    policy: Stored[Policy]
    measured: PolicyEvaluation
    made: IterationResult | None = None

    @property
    def evaluation(self) -> Stored[Evaluation]:
        return self.measured.evaluation
