import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from iterdpo.evaluation.statistics import mean_ci, paired_difference

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
        estimate = mean_ci({key: list(item) for key, item in values.items()})
        covered += estimate.low < 2 < estimate.high
    assert 925 <= covered <= 970


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
