from __future__ import annotations

import math
from itertools import combinations
from statistics import fmean
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from iterdpo.evaluation.answers import best_of, duplicate_share, length_correlation
from tests.narrowing import bounds, present


def test_best_of_by_hand() -> None:
    answers = {"p": [(1.0, 0.0), (2.0, 3.0), (3.0, 5.0)]}
    assert best_of(1, answers).mean == pytest.approx(8 / 3)
    # Draws of two: {1, 2} gives 3, {1, 3} and {2, 3} give 5.
    assert best_of(2, answers).mean == pytest.approx(13 / 3)
    assert best_of(3, answers).mean == 5
    # Two tied at the top: either of them, as by a coin; {1, 2} and {1, 3} have one of them.
    tied = {"p": [(1.0, 0.0), (3.0, 2.0), (3.0, 5.0)]}
    assert best_of(2, tied).mean == pytest.approx((2 + 5 + 3.5) / 3)
    assert best_of(3, tied).mean == 3.5


def test_unscored_answers_come_last() -> None:
    answers = {"p": [(None, 5.0), (None, 1.0), (0.0, 2.0)]}
    assert best_of(3, answers).mean == 2
    # {None, None}: 3 as by a coin; the two others give the scored one.
    assert best_of(2, answers).mean == pytest.approx((3 + 2 + 2) / 3)


def test_best_of_is_a_mean_over_prompts() -> None:
    estimate = best_of(2, {"p": [(1, 1), (2, 4)], "q": [(1, 0), (2, 2)], "r": [(2, 0), (1, 5)]})
    assert (estimate.mean, estimate.n, estimate.clusters) == (2, 3, 3)
    # 4, 2, 0: standard error 2 / sqrt(3), and t with two degrees of freedom is 4.302653.
    assert estimate.high == pytest.approx(2 + 4.302653 * 2 / 3**0.5)


@pytest.mark.parametrize(("n", "said"), [(0, "best of 0"), (3, "best of 3, but a prompt has 2")])
def test_more_than_there_are(n: int, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        best_of(n, {"p": [(1, 1), (2, 2)], "q": [(1, 1), (2, 2), (3, 3)]})
    with pytest.raises(ValueError, match="to 0 prompts"):
        best_of(1, {})


JUDGED = st.none() | st.integers(0, 3).map(float)


@given(st.lists(st.tuples(JUDGED, st.integers(0, 5).map(float)), min_size=1, max_size=7), st.data())
def test_best_of_counts_what_drawing_would_give(answers: Any, data: Any) -> None:
    n = data.draw(st.integers(1, len(answers)))
    values = []
    for draw in combinations(answers, n):
        top = max((judged for judged, _ in draw if judged is not None), default=None)
        values.append(fmean(gold for judged, gold in draw if judged == top))
    assert best_of(n, {"p": answers}).mean == pytest.approx(fmean(values))


def test_duplicates_by_hand() -> None:
    assert duplicate_share({"p": ["a b", "a  b\n", "c"], "q": ["c", "d", "e"]}) == pytest.approx(
        2 / 6
    )
    assert duplicate_share({"p": ["same"] * 4}) == 1
    assert duplicate_share({"p": ["A", "a"], "q": ["A"]}) == 0
    assert duplicate_share({"p": []}) is None
    assert duplicate_share({}) is None


@given(st.lists(st.text(max_size=3), max_size=6))
def test_duplicates_are_those_that_equal_another(texts: list[str]) -> None:
    equal = [
        any(i != j and a.split() == b.split() for j, b in enumerate(texts))
        for i, a in enumerate(texts)
    ]
    assert duplicate_share({"p": texts}) == (fmean(equal) if texts else None)


def test_length_correlation() -> None:
    # Ranks 1 2 3 4 against 2 1 3 4: ρ = 1 - 6 · 2 / (4 · 15) = 0.8.
    found = present(
        length_correlation({"p": [(1.0, 20), (2.0, 10), (None, 99)], "q": [(3.0, 30), (4.0, 40)]})
    )
    assert found.mean == pytest.approx(0.8)
    assert (found.n, found.clusters) == (4, 2)
    tied = [1.0, 1.0, 2.0, 5.0], [3, 4, 4, 9]
    # Ranks 1.5 1.5 3 4 and 1 2.5 2.5 4: Pearson of these, 3.75 / sqrt(4.5 · 4.5).
    alone = present(length_correlation({"p": list(zip(*tied, strict=True))}))
    assert alone.mean == pytest.approx(3.75 / 4.5)
    assert alone.mean == pytest.approx(scipy.stats.spearmanr(*tied).statistic)
    assert (alone.low, alone.high) == (None, None)


def test_length_correlation_where_it_is_undefined() -> None:
    assert length_correlation({}) is None
    assert length_correlation({"p": [(1.0, 1), (None, 2)], "q": []}) is None
    assert length_correlation({"p": [(1.0, 1)], "q": [(1.0, 2)]}) is None
    assert length_correlation({"p": [(1.0, 3)], "q": [(2.0, 3)]}) is None


def test_the_interval_of_a_length_correlation_covers_it() -> None:
    """Normal draws with Pearson's r = 1/2 have Spearman's ρ = 6/π · asin(1/4)."""
    rng = np.random.default_rng(0)
    truth, covered = 6 / math.pi * math.asin(0.25), 0
    for _ in range(300):
        x = rng.standard_normal((60, 2))
        y = 0.5 * x + math.sqrt(0.75) * rng.standard_normal((60, 2))
        lengths = np.round(1e6 * (10 + y)).astype(int)
        answers = {i: list(zip(x[i].tolist(), lengths[i].tolist(), strict=True)) for i in range(60)}
        low, high = bounds(length_correlation(answers))
        covered += low <= truth <= high
    assert 0.92 <= covered / 300 <= 0.98


def test_answers_that_repeat_one_another_count_once_in_the_interval() -> None:
    rng = np.random.default_rng(1)
    single = {key: [(float(rng.normal()), int(rng.integers(50)))] for key in range(40)}
    copied = {key: answers * 9 for key, answers in single.items()}
    first, second = bounds(length_correlation(single)), bounds(length_correlation(copied))
    assert second == pytest.approx(first)
