"""What the loop yields: each policy with what was measured of it, and what its iteration made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from iterdpo.evaluation.report import Evaluation
    from iterdpo.records import Policy
    from iterdpo.stages.base import Candidates, Comparisons, Judgments, Pairs, Prompts
    from iterdpo.stages.health import Health
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
class BaselineComparison:
    """A policy's answers against those of M0 that are as sharp, or sharper."""

    baseline: str
    """``temperature T``: M0's at T against the sampled ones; ``greedy``: the greedy ones of both,
    which no temperature improves."""
    answers: Candidates
    opponents: Candidates
    """M0's."""
    comparisons: Comparisons


@dataclass(frozen=True)
class PolicyEvaluation:
    """A policy, and everything that was measured of it."""

    policy: Stored[Policy]
    sampled: Candidates
    """Its sampled answers to the held-out prompts, which meet the opponents'."""
    greedy: Candidates
    """Its greedy ones."""
    fixed: Judgments
    """Its judgments of M0's answers to the labelled prompts."""
    evaluation: Stored[Evaluation]
    comparisons: tuple[tuple[PolicyEvaluation, Comparisons], ...]
    """Each opponent with what the arbiter said: the policy that the iteration started from, and M0.
    Empty without an arbiter, and for a policy that stayed as it was: it has met them before."""
    health: Stored[Health]
    parent: PolicyEvaluation | None
    """The policy that the iteration started from; None for M0."""
    stops: bool
    """Whether an alarm ends the run with this policy."""
    next_start: Stored[Policy]
    """The policy that the next iteration starts from: this one, or the best so far."""
    baselines: tuple[tuple[float, Candidates], ...] = ()
    """M0's answers at lower temperatures, by temperature: what sharpening alone would gain."""
    against_baselines: tuple[BaselineComparison, ...] = ()
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
