import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from iterdpo.evaluation.resampling import (
    bootstrap_ci,
    outcome_gap_ci,
    percentile_interval,
    random_weights,
    share_ci,
    win_rate_ci,
)
from iterdpo.evaluation.statistics import Estimate, mean_ci
from tests.narrowing import bounds

REPETITIONS = 1000

Floats = NDArray[np.float64]


def preferences(
    rng: np.random.Generator, prompts: int, each: int, rate: float, ties: float
) -> dict[int, list[float]]:
    """Draw comparisons whose chance of a win differs by prompt, with mean ``rate``."""
    chance = rng.beta(4 * rate, 4 * (1 - rate), size=(prompts, 1))
    outcomes = (rng.random((prompts, each)) < chance).astype(float)
    outcomes[rng.random((prompts, each)) < ties] = 0.5
    return dict(enumerate(outcomes.tolist()))


def covers(estimate: Estimate, truth: float) -> bool:
    assert estimate.low is not None
    assert estimate.high is not None
    return estimate.low <= truth <= estimate.high


@pytest.mark.parametrize(
    ("prompts", "each", "rate", "ties"),
    [
        (50, 1, 0.5, 0.4),
        (50, 4, 0.7, 0.3),
        (50, 2, 0.9, 0.1),
        (100, 1, 0.9, 0.0),
        (100, 4, 0.3, 0.3),
        (300, 1, 0.96, 0.2),
    ],
)
def test_a_win_rate_is_covered_at_its_level(
    prompts: int, each: int, rate: float, ties: float
) -> None:
    rng = np.random.default_rng(0)
    truth = rate * (1 - ties) + ties / 2
    covered = sum(
        covers(
            win_rate_ci(preferences(rng, prompts, each, rate, ties), resamples=500, seed=run),
            truth,
        )
        for run in range(REPETITIONS)
    )
    assert 930 <= covered <= 970


@pytest.mark.parametrize(
    ("prompts", "each", "ties"), [(50, 1, 0.0), (50, 4, 0.5), (100, 2, 0.3), (200, 1, 0.7)]
)
def test_equal_models_seldom_differ(prompts: int, each: int, ties: float) -> None:
    rng = np.random.default_rng(1)
    alarms = sum(
        not covers(
            win_rate_ci(preferences(rng, prompts, each, 0.5, ties), resamples=500, seed=run), 0.5
        )
        for run in range(REPETITIONS)
    )
    assert alarms <= 65


def test_near_the_end_it_covers_where_the_t_interval_does_not() -> None:
    rng = np.random.default_rng(2)
    draws = [preferences(rng, 50, 1, 0.98, 0.0) for _ in range(REPETITIONS)]
    assert sum(covers(win_rate_ci(draw, resamples=500), 0.98) for draw in draws) >= 930
    assert sum(covers(mean_ci(draw), 0.98) for draw in draws) < 700


@pytest.mark.parametrize(("wins", "losses"), [(30, 20), (49, 1), (5, 95)])
def test_single_comparisons_without_ties_have_the_interval_of_jeffreys(
    wins: int, losses: int
) -> None:
    outcomes = dict(enumerate([[1.0]] * wins + [[0.0]] * losses))
    estimate = win_rate_ci(outcomes, resamples=40_000)
    count = wins + losses
    tail = scipy.stats.norm.sf(scipy.stats.t.ppf(0.975, count - 1) * math.sqrt(count / (count - 1)))
    expected = scipy.stats.beta.ppf([tail, 1 - tail], wins + 0.5, losses + 0.5)
    assert estimate.mean == wins / count
    assert (estimate.low, estimate.high) == pytest.approx(tuple(expected), abs=0.003)


def test_winning_everything_leaves_doubt() -> None:
    # Jeffreys: the 2.5 % quantile of Beta(50.5, 0.5) is 0.9512.
    won = win_rate_ci({key: [1.0] for key in range(50)})
    lost = win_rate_ci({key: [0.0] for key in range(50)})
    assert (won.mean, won.high) == (1, 1)
    assert won.low == pytest.approx(0.95, abs=0.006)
    assert (lost.mean, lost.low) == (0, 0)
    assert lost.high == pytest.approx(0.05, abs=0.006)
    low, high = bounds(win_rate_ci({key: [0.5] for key in range(50)}))
    assert low < 0.49 < 0.51 < high


def test_every_prompt_weighs_the_same_and_copies_do_not_narrow() -> None:
    uneven = win_rate_ci({"a": [1.0, 1.0, 1.0], "b": [0.0]})
    assert (uneven.mean, uneven.n, uneven.clusters) == (0.5, 4, 2)
    single = {key: [float(key % 3 > 0)] for key in range(30)}
    copied = {key: values * 8 for key, values in single.items()}
    first, second = win_rate_ci(single), win_rate_ci(copied)
    assert (first.low, first.high) == (second.low, second.high)
    assert (first.n, second.n) == (30, 240)


def test_outcomes_weigh_the_same_and_are_clustered_by_prompt() -> None:
    uneven = share_ci({"a": [1.0, 1.0, 1.0], "b": [0.0]})
    assert (uneven.mean, uneven.n, uneven.clusters) == (0.75, 4, 2)
    assert share_ci({"a": [1.0, 0.0]}) == Estimate(0.5, None, None, 2, 1)
    even = {key: [float(key % 3 > 0), 1.0] for key in range(30)}
    assert share_ci(even).low == pytest.approx(win_rate_ci(even).low)
    assert share_ci(even).high == pytest.approx(win_rate_ci(even).high)


@pytest.mark.parametrize("rate", [0.6, 0.9])
def test_a_share_is_covered_at_its_level_where_prompts_differ_in_size(rate: float) -> None:
    rng = np.random.default_rng(2)
    covered = 0
    for run in range(REPETITIONS):
        drawn = preferences(rng, 80, 6, rate, 0.0)
        sizes = rng.integers(1, 7, size=80)
        outcomes = {key: values[: sizes[key]] for key, values in drawn.items()}
        covered += covers(share_ci(outcomes, resamples=500, seed=run), rate)
    assert 930 <= covered <= 970


def test_a_difference_of_outcomes_is_a_win_rate_on_another_scale() -> None:
    # Differences 1, 0, -1/2 are 1, 1/2, 1/4 of the way from -1 to 1.
    gap = outcome_gap_ci({"a": [1.0], "b": [0.0], "c": [-0.5]})
    share = win_rate_ci({"a": [1.0], "b": [0.5], "c": [0.25]})
    assert gap.mean == pytest.approx(0.5 / 3)
    low, high = bounds(share)
    assert (gap.low, gap.high) == pytest.approx((2 * low - 1, 2 * high - 1))
    # Against an opponent that is even everywhere, from -1/2 to 1/2.
    assert outcome_gap_ci({"a": [0.5], "b": [0.5]}, reach=1).high == 0.5
    assert outcome_gap_ci({"a": [0.5]}, reach=1).low is None
    with pytest.raises(ValueError, match="must be from 0 to 1"):
        outcome_gap_ci({"a": [0.6], "b": [0.5]}, reach=1)


@given(
    st.lists(st.lists(st.floats(0, 1), min_size=1, max_size=3), min_size=2, max_size=8),
    st.integers(0, 3),
)
def test_a_win_rate_and_its_interval_are_shares(values: list[list[float]], seed: int) -> None:
    outcomes = dict(enumerate(values))
    estimate = win_rate_ci(outcomes, resamples=50, seed=seed)
    low, high = bounds(estimate)
    assert 0 <= low <= estimate.mean <= high <= 1
    assert estimate == win_rate_ci(outcomes, resamples=50, seed=seed)


def test_one_prompt_has_no_interval() -> None:
    assert win_rate_ci({"a": [1, 0]}) == Estimate(0.5, None, None, 2, 1)
    assert bootstrap_ci({"a": [1, 4]}) == Estimate(2.5, None, None, 2, 1)


@pytest.mark.parametrize("values", [{}, {"a": []}, {"a": [1], "b": []}])
def test_nothing_to_resample(values: dict[str, list[float]]) -> None:
    with pytest.raises(ValueError, match="without any"):
        win_rate_ci(values)
    with pytest.raises(ValueError, match="without any"):
        bootstrap_ci(values)


@pytest.mark.parametrize("value", [1.01, -0.1, math.nan])
def test_a_preference_is_a_share(value: float) -> None:
    with pytest.raises(ValueError, match=r"a preference of .*; it must be from 0 to 1"):
        win_rate_ci({"a": [0.5], "b": [value]})


def test_the_bootstrap_of_a_mean_agrees_with_its_formula() -> None:
    rng = np.random.default_rng(0)
    values = {key: list(rng.normal(key % 7, 1, size=1 + key % 3)) for key in range(60)}
    formula, resampled = mean_ci(values), bootstrap_ci(values, resamples=20_000)
    low, high = bounds(formula)
    half = (high - low) / 2
    assert resampled.mean == pytest.approx(formula.mean)
    assert resampled.low == pytest.approx(low, abs=half / 10)
    assert resampled.high == pytest.approx(high, abs=half / 10)
    assert (resampled.n, resampled.clusters) == (formula.n, formula.clusters)


def test_a_ratio_is_covered_at_its_level() -> None:
    def ratio(values: Floats, weights: Floats) -> Floats:
        shares: Floats = (weights @ (values > 1)) / (weights @ (values > 0))
        return shares

    assert bootstrap_ci({"a": [1, 3], "b": [0, 5, 0.5]}, ratio).mean == 0.5
    rng, covered = np.random.default_rng(0), 0
    # Two values a cluster that share half their variance.
    truth = scipy.stats.norm.sf(1 / math.sqrt(2)) / 0.5
    for run in range(REPETITIONS):
        draws = rng.normal(size=(60, 1)) + rng.normal(size=(60, 2))
        values = dict(enumerate(draws.tolist()))
        covered += covers(bootstrap_ci(values, ratio, resamples=500, seed=run), truth)
    assert 930 <= covered <= 970


def test_a_seed_decides() -> None:
    values = {key: [float(key)] for key in range(20)}
    assert bootstrap_ci(values, seed=3) == bootstrap_ci(values, seed=3)
    assert bootstrap_ci(values, seed=3) != bootstrap_ci(values, seed=4)
    outcomes = {key: [key % 2.0] for key in range(20)}
    assert win_rate_ci(outcomes) == win_rate_ci(outcomes)
    assert win_rate_ci(outcomes) != win_rate_ci(outcomes, seed=1)


def test_values_must_be_finite() -> None:
    with pytest.raises(ValueError, match="not finite"):
        bootstrap_ci({"a": [1.0], "b": [math.nan]})


def test_weights_have_their_shapes() -> None:
    weights = random_weights(1, 100_000, seed=0, halves=2)
    assert weights.mean(axis=0) == pytest.approx([1, 0.5, 0.5], abs=0.01)
    assert weights.var(axis=0) == pytest.approx([1, 0.5, 0.5], abs=0.03)
    assert weights.min() > 0


def test_percentiles_step_outwards_with_few_clusters() -> None:
    # 50 clusters: t = 2.0096, times sqrt(50 / 49) is 2.0300, and Φ(-2.03) = 0.02118 (tables).
    low, high = percentile_interval(np.linspace(0, 1, 10_001), 50)
    assert (low, high) == pytest.approx((0.02118, 1 - 0.02118), abs=1e-4)
    low, high = percentile_interval(np.linspace(0, 1, 10_001), 10**6)
    assert (low, high) == pytest.approx((0.025, 0.975), abs=1e-4)
    # A fit of two parameters to two clusters is left one degree, t = 12.706: all there is.
    assert percentile_interval(np.linspace(0, 1, 101), 2, parameters=2) == pytest.approx((0, 1))
