"""One scale for all models from comparisons of two: the Bradley-Terry model, in Elo points.

P(a is preferred to b) = 1 / (1 + 10^((R_b - R_a) / 400))

(Rank Analysis of Incomplete Block Designs, Biometrika 39:324, 1952). Ratings say nothing that a win
rate does not where every model met the same opponent; they bring comparisons with different
opponents together.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from iterdpo.evaluation.logistic import SMALLEST_TIE, logistic_fit
from iterdpo.evaluation.resampling import (
    FIT_RESAMPLES,
    SEED,
    percentile_interval,
    random_weights,
)

if TYPE_CHECKING:
    from iterdpo.evaluation.resampling import Floats

POINTS = 400 / math.log(10)
"""Elo points of one unit of log-odds: 400 points are odds of ten to one."""


@dataclass(frozen=True, slots=True)
class Contest:
    """Two models' answers to one prompt, compared."""

    a: str
    b: str
    preference: float
    """For ``a``'s answer, in [0, 1]; 1/2 is a tie."""
    cluster: Hashable
    """The prompt."""


@dataclass(frozen=True, slots=True)
class Rating:
    """A model's place on the scale, in Elo points, with its 95 % interval."""

    model: str
    rating: float
    low: float | None
    """None, like ``high``, where all contests are of one prompt."""
    high: float | None


def bradley_terry(
    models: Sequence[str],
    contests: Sequence[Contest],
    *,
    resamples: int = FIT_RESAMPLES,
    seed: int = SEED,
) -> tuple[Rating, ...]:
    """Return the rating of each of ``models``, in their order; the first is 0 by definition.

    The ratings of greatest likelihood, a tie being half a win for each. At one prompt, the
    comparisons of two models count as one, by their mean: every prompt weighs the same.

    Departure from greatest likelihood: each two models that met are given one tie more. Without
    it a model that always wins has no finite rating; with it, 100 wins of 100 are 921 points, and
    ratings between 50 and 150 wins of 200 move by less than 2. In the resamples the tie is a win
    and a loss of random weight, as in ``resampling.win_rate_ci``: of two models, the rating's
    interval is the win rate's, on another scale.

    Args:
        models: names, the first the anchor.
        contests: comparisons between any of them.
        resamples: of the prompts.
        seed: of the resamples.

    Raises:
        ValueError: there is no model, a name occurs twice, a contest is of an unknown model or of
            one with itself, a preference lies outside [0, 1], or a model is connected with the
            first by no chain of contests.
    """
    import numpy as np

    _check(models, contests)
    if len(models) == 1:
        return (Rating(models[0], 0.0, 0.0, 0.0),)
    pairs, wins = _wins(models, contests)
    # One row of the regression for each pair's wins, and one for its losses.
    features = np.concatenate([pairs, pairs])
    outcomes = np.repeat([1.0, 0.0], len(pairs))
    penalty = [0.0] * (len(models) - 1)
    fit = logistic_fit(features, outcomes, wins.sum(axis=0, keepdims=True) + 0.5, penalty)[0]
    ratings = [0.0, *(POINTS * fit).tolist()]
    if len(wins) == 1:
        return tuple(
            Rating(name, rating, None if i else 0.0, None if i else 0.0)
            for i, (name, rating) in enumerate(zip(models, ratings, strict=True))
        )
    weights = random_weights(len(wins), resamples, seed, halves=len(features))
    ties = np.maximum(weights[:, len(wins) :], SMALLEST_TIE)
    won = weights[:, : len(wins)] @ wins + ties
    samples = logistic_fit(features, outcomes, won, penalty, start=fit)
    intervals = [percentile_interval(POINTS * column, len(wins)) for column in samples.T]
    return tuple(
        Rating(name, rating, min(low, rating), max(high, rating))
        for name, rating, (low, high) in zip(models, ratings, [(0.0, 0.0), *intervals], strict=True)
    )


def connected_ratings(models: Sequence[str], contests: Sequence[Contest]) -> tuple[Rating, ...]:
    """Return the ratings of those of ``models`` that contests connect with the first.

    A model none of whose comparisons could be read has no place on the scale. Nothing where no
    other model is connected.
    """
    connected = {models[0]}
    for _ in models:
        met = ({contest.a, contest.b} for contest in contests)
        connected |= {name for pair in met if pair & connected for name in pair}
    if len(connected) == 1:
        return ()
    return bradley_terry(
        [name for name in models if name in connected],
        [contest for contest in contests if contest.a in connected],
    )


def _check(models: Sequence[str], contests: Sequence[Contest]) -> None:
    if not models or len(set(models)) < len(models):
        raise ValueError("no models, or one that is named twice")
    for contest in contests:
        if contest.a == contest.b or not {contest.a, contest.b} <= set(models):
            raise ValueError(f"a contest of {contest.a} and {contest.b} among {', '.join(models)}")
        if not 0 <= contest.preference <= 1:
            raise ValueError(f"a preference of {contest.preference}; it must be from 0 to 1")
    reached, grown = set[str](), {models[0]}
    while grown != reached:
        reached = grown
        grown = reached | {
            name for item in contests if {item.a, item.b} & reached for name in (item.a, item.b)
        }
    apart = [name for name in models if name not in reached]
    if apart:
        raise ValueError(
            f"no chain of comparisons leads from {models[0]} to {', '.join(apart)}: "
            "there is no common scale"
        )


def _wins(models: Sequence[str], contests: Sequence[Contest]) -> tuple[Floats, Floats]:
    """Return the pairs of models that met, and by prompt what either of each pair won.

    Pairs (m, k - 1) hold 1 for one model and -1 for the other, without the first model's column.
    Of prompts (g, 2 · m), the first half is the mean preference for the one, the other for the
    other; 0 in both where they did not meet at that prompt.
    """
    import numpy as np

    place = {name: index for index, name in enumerate(models)}
    shares: defaultdict[tuple[int, int], defaultdict[Hashable, list[float]]]
    shares = defaultdict(lambda: defaultdict(list))
    for item in contests:
        a, b, share = place[item.a], place[item.b], item.preference
        pair, share = ((a, b), share) if a < b else ((b, a), 1 - share)
        shares[pair][item.cluster].append(share)
    rows = {cluster: row for row, cluster in enumerate(dict.fromkeys(x.cluster for x in contests))}
    features = np.zeros((len(shares), len(models)))
    wins = np.zeros((len(rows), 2, len(shares)))
    for index, ((a, b), by_prompt) in enumerate(shares.items()):
        features[index, [a, b]] = 1, -1
        for cluster, values in by_prompt.items():
            wins[rows[cluster], :, index] = fmean(values), 1 - fmean(values)
    return features[:, 1:], wins.reshape(len(rows), -1)
