"""What a model gained over those before it, in the oracle's points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from iterdpo.evaluation.best import gain
from iterdpo.evaluation.statistics import Estimate

Scores = Mapping[str, Sequence[float]]
"""The oracle's scores of a model's sampled answers by prompt id."""


@dataclass(frozen=True, slots=True)
class Gains:
    """Differences of quality, paired by prompt. None where two models share no scored prompt."""

    over_previous: Estimate | None
    """Over the policy that the model's iteration started from."""
    over_initial: Estimate | None
    """Over M0."""
    over_baseline: Estimate | None
    """Over the strongest temperature baseline: what was learned beyond sharpening."""


def gains(own: Scores, previous: Scores, initial: Scores, baseline: Scores) -> Gains:
    """Return a model's gains.

    Args:
        own: the model's.
        previous: those of the policy that its iteration started from.
        initial: M0's.
        baseline: those of the strongest temperature baseline; empty where there is none.
    """
    return Gains(gain(own, previous), gain(own, initial), gain(own, baseline))
