"""From what a judge returns to one score: pure arithmetic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from iterdpo.records import Scored, Unscored, UnscoredReason, Verdict


@dataclass(frozen=True, slots=True)
class ExpectedScore:
    """The mean of a judge's score distribution."""

    score: float
    """In [low, high]."""
    distribution: tuple[float, ...]
    """Probabilities of low, low + 1, ..., high; they sum to 1."""
    mass: float
    """Probability that the scores held together before renormalizing, in [0, 1]."""


def expected_score(logprobs: Sequence[float], low: int, high: int) -> ExpectedScore | None:
    """Return the mean of the distribution over the scores, instead of its mode.

    score = sum over s of s · p(s) / sum over s of p(s), with p(s) = exp(logprobs[s - low])
    (Improving LLM-as-a-Judge Inference with the Judgment Distribution, arXiv 2503.03064).

    Args:
        logprobs: natural-log probability of each of the scores low, low + 1, ..., high as the next
            token, not renormalized; ``-inf`` is allowed. Shape (high - low + 1,).
        low: the lowest score.
        high: the highest score.

    Returns:
        The mean, or None where there is no distribution: every entry is ``-inf``, or one is NaN.

    Raises:
        ValueError: there is not one log-probability a score.
    """
    if len(logprobs) != high - low + 1:
        raise ValueError(f"{len(logprobs)} log-probabilities for the scores {low} to {high}")
    if any(math.isnan(value) for value in logprobs) or max(logprobs) == -math.inf:
        return None
    # Shifted by the largest, so that very small probabilities keep their ratios.
    largest = max(logprobs)
    weights = [math.exp(value - largest) for value in logprobs]
    total = math.fsum(weights)
    distribution = tuple(weight / total for weight in weights)
    score = math.fsum(p * s for p, s in zip(distribution, range(low, high + 1), strict=True))
    mass = math.fsum(math.exp(min(value, 0.0)) for value in logprobs)
    return ExpectedScore(min(max(score, low), high), distribution, min(mass, 1.0))


def mean_verdict(verdicts: Sequence[Verdict], min_readable: float = 0.5) -> Verdict:
    """Return the mean of the readable verdicts on one candidate (arXiv 2401.10020).

    Args:
        verdicts: all verdicts on it, readable or not.
        min_readable: the share of them, in [0, 1], that must be readable. None at all is never
            enough.

    Returns:
        ``Scored`` with the mean; a single unreadable verdict as it is; else ``Unscored`` with
        ``TOO_FEW_READABLE`` and the unreadable texts, a blank line between them.
    """
    scores = [verdict.score for verdict in verdicts if isinstance(verdict, Scored)]
    if scores and len(scores) / len(verdicts) >= min_readable:
        return Scored(fmean(scores))
    unread = [verdict for verdict in verdicts if isinstance(verdict, Unscored)]
    if len(verdicts) == 1 and unread:
        return unread[0]
    raw = "\n\n".join(verdict.raw for verdict in unread)
    return Unscored(UnscoredReason.TOO_FEW_READABLE, raw)
