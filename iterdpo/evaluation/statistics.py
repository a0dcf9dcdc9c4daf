"""Means and differences with honest intervals: answers to one prompt are not independent.

After Adding Error Bars to Evals (arXiv 2411.00640): standard errors clustered by prompt, and
paired differences. Intervals are 95 %, from Student's t with one degree of freedom fewer than there
are clusters.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)
Values = Mapping[Key, Sequence[float]]
"""Values by cluster: by prompt, or by (run, prompt)."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean and its 95 % interval. ``low`` and ``high`` are None where one cluster is all."""

    mean: float
    low: float | None
    high: float | None
    n: int
    """Values in the mean: answers, or prompts for a paired difference."""
    clusters: int
    """Independent groups of them."""


Interval = tuple[float | None, float | None]


def ends(found: Estimate, within: tuple[float, float] = (-math.inf, math.inf)) -> Interval:
    """Return an estimate's interval alone, cut to where its mean can lie."""
    if found.low is None or found.high is None:
        return None, None
    return max(found.low, within[0]), min(found.high, within[1])


def mean_ci(values_by_cluster: Values[Key]) -> Estimate:
    """Return the mean over all values, its interval clustered; clusters may differ in size.

    With x_ci value i of cluster c, n values in G clusters and their overall mean m:
    SE² = G / (G - 1) · sum over c of (sum over i of (x_ci - m))² / n²
    which for clusters of equal size is the standard error of the mean of the cluster means.

    Raises:
        ValueError: there is no value, or a cluster is empty.
    """
    clusters = list(values_by_cluster.values())
    if not clusters or not all(clusters):
        raise ValueError("no values, or a cluster without any")
    values = [value for cluster in clusters for value in cluster]
    mean, count = fmean(values), len(clusters)
    if count == 1:
        return Estimate(mean, None, None, len(values), 1)
    squares = math.fsum(math.fsum(x - mean for x in cluster) ** 2 for cluster in clusters)
    error = math.sqrt(count / (count - 1) * squares) / len(values)
    half = t_quantile(count - 1) * error
    return Estimate(mean, mean - half, mean + half, len(values), count)


def paired_difference(a_by_prompt: Values[Key], b_by_prompt: Values[Key]) -> Estimate:
    """Return the mean over prompts of mean(a) - mean(b), with its paired interval.

    Every prompt weighs the same, however many answers it has.

    Raises:
        ValueError: the prompts are not the same, there is none, or one has no values.
    """
    if a_by_prompt.keys() != b_by_prompt.keys():
        odd = sorted(map(str, a_by_prompt.keys() ^ b_by_prompt.keys()))
        raise ValueError(f"{len(odd)} prompts are on one side only, such as {odd[0]}")
    if not all(a_by_prompt.values()) or not all(b_by_prompt.values()):
        raise ValueError("a prompt without values")
    return mean_ci(
        {key: [fmean(values) - fmean(b_by_prompt[key])] for key, values in a_by_prompt.items()}
    )


@dataclass(frozen=True, slots=True)
class WinRate:
    """AlpacaEval's figures of a model against an opponent."""

    win_rate: float
    """In percent, 0 to 100."""
    standard_error: float | None
    """In percentage points. None with one preference. Not clustered: for several comparisons a
    prompt, and for an interval, see ``resampling.win_rate_ci``."""
    n_wins: int
    """Preferences above 1.5."""
    n_wins_base: int
    """Preferences below 1.5, where the opponent wins."""
    n_draws: int
    """Preferences of exactly 1.5, or 0."""
    n_total: int


def win_rate(preferences: Iterable[float]) -> WinRate:
    """Return the win rate and its standard error as AlpacaEval defines them.

    Its code is ``alpaca_eval/metrics/helpers.py``, ``BaseScoringRule.describe_head2head``, with
    which ``metrics/winrate.py`` describes a leaderboard's entry. With x = preference - 1 in [0, 1]:
    win_rate = 100 · mean(x), standard_error = 100 · sqrt(sum of (x - mean(x))² / (n - 1) / n)

    AlpacaEval once wrote a draw as 0 and still reads it as 1.5; so does this. It drops a missing
    preference (nan) and one outside [1, 2] with a line in its log. Here both are errors: a verdict
    that could not be read is counted by whoever compares, and never gets this far.

    Args:
        preferences: 1 where the opponent is preferred, 2 where the model is, 1.5 or 0 for a draw,
            and anything from 1 to 2 for the judge's probability of the model + 1.

    Raises:
        ValueError: there is none, or one is neither 0 nor in [1, 2].
    """
    shares = []
    for preference in preferences:
        # Written so that not-a-number fails too.
        if not (preference == 0 or 1 <= preference <= 2):
            raise ValueError(
                f"a preference of {preference}; AlpacaEval's are from 1 (the opponent) to 2 "
                "(the model), and 1.5 or 0 for a draw"
            )
        shares.append(0.5 if preference == 0 else float(preference) - 1)
    if not shares:
        raise ValueError("no preferences")
    return WinRate(
        win_rate=100 * fmean(shares),
        standard_error=100 * stdev(shares) / math.sqrt(len(shares)) if len(shares) > 1 else None,
        n_wins=sum(share > 0.5 for share in shares),
        n_wins_base=sum(share < 0.5 for share in shares),
        n_draws=sum(share == 0.5 for share in shares),
        n_total=len(shares),
    )


def prompts_needed(
    values_by_cluster: Values[Key], null: float = 0.0, power: float = 0.8, level: float = 0.05
) -> int | None:
    """Return how many prompts would show a difference as large as the one seen.

    The sample size of Adding Error Bars to Evals (arXiv 2411.00640, on power analysis):
    n = (z_(level/2) + z_(1-power))² · s² / δ²
    where δ is the mean over prompts minus ``null`` and s² the variance of the prompts' means. The
    paper's ω² + σ_A²/K_A + σ_B²/K_B is that same variance, split into what prompts differ by and
    what answers to one prompt do; so n is for as many answers a prompt as were compared.

    It is a guide to the next measurement, not a verdict on this one: δ is itself uncertain, and
    smaller than it looks where it was picked for being large.

    Args:
        values_by_cluster: by prompt, paired differences (null 0) or preferences (null 1/2).
        null: the value that means no difference.
        power: probability in (0, 1) that a test at ``level`` then finds the difference.
        level: the test's two-sided level, in (0, 1).

    Returns:
        The number, at least 2; None where there is one prompt, or the mean equals ``null`` to
        nine digits of the largest value.

    Raises:
        ValueError: there is no value, a prompt has none, or ``power`` or ``level`` is no share.
    """
    from scipy.special import ndtri

    if not 0 < level < 1 or not level < power < 1:
        raise ValueError(f"level {level} and power {power}; needed is 0 < level < power < 1")
    clusters = list(values_by_cluster.values())
    if not clusters or not all(map(len, clusters)):
        raise ValueError("no values, or a prompt without any")
    means = [fmean(cluster) for cluster in clusters]
    difference = fmean(means) - null
    scale = max(abs(null), *map(abs, means))
    if len(means) == 1 or abs(difference) <= 1e-9 * scale:
        return None
    standardized = stdev(means) / difference
    return max(2, math.ceil(float(ndtri(1 - level / 2) + ndtri(power)) ** 2 * standardized**2))


def t_quantile(degrees: int) -> float:
    """Return the 97.5 % quantile of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, 0.975))
