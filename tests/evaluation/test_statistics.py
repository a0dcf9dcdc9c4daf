import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from iterdpo.evaluation.statistics import (
    WinRate,
    mean_ci,
    paired_difference,
    prompts_needed,
    t_quantile,
    win_rate,
)
from tests.narrowing import bounds, near

T_1 = 12.706204736  # 97.5 % quantiles of Student's t, from a printed table
T_2 = 4.302652730


def test_one_value_a_cluster_by_hand() -> None:
    # 1, 2, 6: mean 3, squares 4 + 1 + 9 = 14, variance 7, standard error sqrt(7 / 3).
    estimate = mean_ci({"a": [1], "b": [2], "c": [6]})
    half = T_2 * math.sqrt(7 / 3)
    assert estimate.mean == 3
    assert (estimate.low, estimate.high) == pytest.approx((3 - half, 3 + half))
    assert (estimate.n, estimate.clusters) == (3, 3)


def test_clusters_of_different_sizes_by_hand() -> None:
    # a: 1, 3; b: 5. Mean 3; sums of deviations -2 and 2; 2 / 1 * (4 + 4) = 16; sqrt(16) / 3.
    estimate = mean_ci({"a": [1, 3], "b": [5]})
    assert estimate.mean == 3
    assert (estimate.low, estimate.high) == pytest.approx((3 - T_1 * 4 / 3, 3 + T_1 * 4 / 3))
    assert (estimate.n, estimate.clusters) == (3, 2)


def test_copies_of_an_answer_do_not_narrow_the_interval() -> None:
    values = {"a": [1.0], "b": [2.0], "c": [6.0], "d": [2.0]}
    single, copied = mean_ci(values), mean_ci({key: v * 50 for key, v in values.items()})
    assert (copied.low, copied.high) == pytest.approx((single.low, single.high))


@given(st.lists(st.lists(st.floats(0, 5), min_size=3, max_size=3), min_size=2, max_size=20))
def test_equal_clusters_agree_with_the_t_interval_of_their_means(values: list[list[float]]) -> None:
    estimate = mean_ci(dict(enumerate(values)))
    means = np.mean(values, axis=1)
    error = scipy.stats.sem(means)
    half = scipy.stats.t.ppf(0.975, len(values) - 1) * error
    assert estimate.mean == pytest.approx(np.mean(means), abs=1e-9)
    assert estimate.high == pytest.approx(np.mean(means) + half, abs=1e-6)


def test_the_interval_covers_the_truth_at_its_level() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(1000):
        # Answers to one prompt share an effect four times as large as their own.
        sizes = rng.integers(1, 8, size=30)
        values = {c: rng.normal(2) + rng.normal(0, 0.5, size=n) for c, n in enumerate(sizes)}
        low, high = bounds(mean_ci({key: list(item) for key, item in values.items()}))
        covered += low < 2 < high
    assert 930 <= covered <= 970


def test_one_cluster_has_no_interval() -> None:
    estimate = mean_ci({"a": [1, 2]})
    assert (estimate.mean, estimate.low, estimate.high) == (1.5, None, None)


@pytest.mark.parametrize("values", [{}, {"a": []}, {"a": [1], "b": []}])
def test_nothing_to_average(values: dict[str, list[float]]) -> None:
    with pytest.raises(ValueError, match="without any"):
        mean_ci(values)


def test_paired_difference_by_hand() -> None:
    # Means 4, 2, 3 against 3, 2, 1: differences 1, 0, 2; mean 1, variance 1, error sqrt(1 / 3).
    a = {"p": [1, 7], "q": [2], "r": [3, 3, 3]}
    b = {"p": [3], "q": [1, 3], "r": [1]}
    estimate = paired_difference(a, b)
    half = T_2 * math.sqrt(1 / 3)
    assert estimate.mean == pytest.approx(1)
    assert (estimate.low, estimate.high) == pytest.approx((1 - half, 1 + half))
    assert (estimate.n, estimate.clusters) == (3, 3)
    other = paired_difference(b, a)
    assert (other.mean, other.low, other.high) == pytest.approx((-1, -1 - half, -1 + half))


def test_pairing_removes_what_prompts_share() -> None:
    a = {key: [10.0 * key + 1] for key in range(5)}
    b = {key: [10.0 * key] for key in range(5)}
    estimate = paired_difference(a, b)
    assert (estimate.low, estimate.high) == pytest.approx((1, 1))


def test_prompts_must_match() -> None:
    with pytest.raises(ValueError, match="2 prompts are on one side only, such as a"):
        paired_difference({"a": [1], "c": [1]}, {"b": [1], "c": [1]})
    with pytest.raises(ValueError, match="without values"):
        paired_difference({"a": []}, {"a": [1]})
    with pytest.raises(ValueError, match="no values"):
        paired_difference({}, {})


def test_equal_models_seldom_differ() -> None:
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(1000):
        # Points from 0 to 5 of two answers each; prompts differ by more than answers do.
        prompts = rng.normal(3, 1, size=(50, 1))
        scores = (prompts + rng.normal(0, 0.7, size=(50, 4))).round().clip(0, 5)
        mine, theirs = (dict(enumerate(half.tolist())) for half in np.hsplit(scores, 2))
        low, high = bounds(paired_difference(mine, theirs))
        alarms += not low <= 0 <= high
    assert 30 <= alarms <= 65


def test_win_rate_by_hand() -> None:
    # Shares 0, 1, 1/2, 1: mean 0.625; squares 0.390625 + 0.140625 + 0.015625 + 0.140625 = 0.6875;
    # standard error sqrt(0.6875 / 3 / 4) = 0.239357.
    assert win_rate([1, 2, 1.5, 2]) == WinRate(
        win_rate=62.5,
        standard_error=near(23.9357, within=1e-4),
        n_wins=2,
        n_wins_base=1,
        n_draws=1,
        n_total=4,
    )


def test_a_draw_may_be_written_as_0() -> None:
    assert win_rate([0, 2, 1]) == win_rate([1.5, 2, 1])
    assert win_rate([0.0]).win_rate == 50


def test_preferences_may_lie_between() -> None:
    # Shares 0.25 and 0.9: mean 0.575, standard error 0.65 / 2.
    figures = win_rate(iter([1.25, 1.9]))
    assert (figures.win_rate, figures.standard_error) == pytest.approx((57.5, 32.5))
    assert (figures.n_wins, figures.n_wins_base, figures.n_draws) == (1, 1, 0)


def test_whole_numbers_of_any_kind_will_do() -> None:
    # Shares 0 and 1: standard error sqrt(0.5 / 2).
    assert win_rate([1, 2]) == win_rate(np.array([1, 2])) == WinRate(50, 50, 1, 1, 0, 2)


def test_one_preference_has_no_standard_error() -> None:
    assert win_rate([2]) == WinRate(100, None, 1, 0, 0, 1)


@pytest.mark.parametrize("preference", [0.5, 0.99, 2.01, -1, 3, math.nan, math.inf])
def test_other_preferences_are_refused(preference: float) -> None:
    with pytest.raises(ValueError, match="AlpacaEval's are from 1"):
        win_rate([1, preference])


def test_no_preferences() -> None:
    with pytest.raises(ValueError, match="no preferences"):
        win_rate([])


@given(st.lists(st.floats(1, 2), min_size=2, max_size=30))
def test_win_rate_agrees_with_scipy_and_mirrors(preferences: list[float]) -> None:
    figures = win_rate(preferences)
    shares = 100 * (np.array(preferences) - 1)
    assert figures.win_rate == pytest.approx(shares.mean(), abs=1e-9)
    assert figures.standard_error == pytest.approx(scipy.stats.sem(shares), abs=1e-9)
    assert figures.n_wins + figures.n_wins_base + figures.n_draws == len(preferences)
    assert win_rate([3 - x for x in preferences]).win_rate == pytest.approx(100 - figures.win_rate)


def test_prompts_needed_by_hand() -> None:
    # (1.959964 + 0.841621)² = 7.848880. Differences 1, 0, 2: mean 1, variance 1.
    values = {"a": [1.0], "b": [-1.0, 1.0], "c": [2.0]}
    assert prompts_needed(values) == 8
    # (2.575829 + 1.281552)² = 14.87939 at level 0.01 with power 0.9.
    assert prompts_needed(values, power=0.9, level=0.01) == 15
    # Win rate 0.6 by halves of 0.4 and 0.8: variance 0.08 / 1 with two prompts, so 62.8 of them.
    assert prompts_needed({"a": [0.4], "b": [0.8]}, null=0.5) == 63
    # Below the null counts as above it.
    assert prompts_needed({"a": [0.6], "b": [0.2]}, null=0.5) == 63


def test_prompts_needed_where_nothing_was_seen() -> None:
    assert prompts_needed({"a": [0.0], "b": [0.0]}) is None
    assert prompts_needed({"a": [1.0], "b": [0.0]}, null=0.5) is None
    # 0.1 + 0.2 - 0.3 is 5.6e-17 in floating point, and no difference.
    assert prompts_needed({"a": [0.1 + 0.2], "b": [0.3]}, null=0.3) is None
    assert prompts_needed({"a": [1.0]}, null=0.5) is None
    assert prompts_needed({"a": [1.0], "b": [1.0]}, null=0.5) == 2


def test_that_many_prompts_have_that_power() -> None:
    rng = np.random.default_rng(0)
    pilot = rng.normal(0.25, 1, size=200_000)
    count = prompts_needed({key: [value] for key, value in enumerate(pilot)})
    assert count is not None
    assert count == pytest.approx(7.84888 / 0.0625, abs=3)
    draws = rng.normal(0.25, 1, size=(4000, count))
    errors = draws.std(axis=1, ddof=1) / math.sqrt(count)
    found = (np.abs(draws.mean(axis=1)) > t_quantile(count - 1) * errors).mean()
    assert found == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize(("power", "level"), [(1.0, 0.05), (0.8, 0.0), (0.04, 0.05), (0.8, 1.2)])
def test_power_and_level_are_shares(power: float, level: float) -> None:
    with pytest.raises(ValueError, match="0 < level < power < 1"):
        prompts_needed({"a": [1], "b": [2]}, power=power, level=level)


@pytest.mark.parametrize("values", [{}, {"a": [1], "b": []}])
def test_prompts_needed_of_nothing(values: dict[str, list[float]]) -> None:
    with pytest.raises(ValueError, match="without any"):
        prompts_needed(values)
