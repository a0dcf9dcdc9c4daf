from __future__ import annotations

import math
from functools import partial
from itertools import combinations
from statistics import fmean
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from iterdpo.evaluation import judge_quality as measures
from iterdpo.evaluation.judge_quality import (
    JudgeQuality,
    agreement,
    judge_quality,
    pair_outcomes,
)
from iterdpo.evaluation.resampling import win_rate_ci
from iterdpo.evaluation.statistics import mean_ci
from tests.narrowing import present


def mean_over(values_of: Any, rankings: Any, **more: Any) -> Any:
    """The mean over all prompts of what each has of a measure; None where none has any."""
    values = [value for ranking in rankings for value in values_of(ranking, **more)]
    return fmean(values) if values else None


pairwise_accuracy = partial(mean_over, pair_outcomes)
exact_match = partial(mean_over, measures.exact_match)
five_best = partial(mean_over, measures.five_best)


def rank_correlation(rankings: Any, measure: Any) -> Any:
    return mean_over(measures.rank_correlation, rankings, measure=measure)


def test_pairwise_accuracy_counts_ties_half() -> None:
    # Gold 1 < 2 < 3. Judge: 1 < 2 right, 1 < 3 tied, 2 < 3 wrong: (1 + 1/2 + 0) / 3.
    assert pairwise_accuracy([[(2, 1), (4, 2), (2, 3)]]) == pytest.approx(0.5)
    assert pairwise_accuracy([[(1, 1), (2, 2)], [(2, 1), (1, 2)], [(1, 1), (4, 2)]]) == (
        pytest.approx(2 / 3)
    )
    assert pairwise_accuracy([[(1, 3), (2, 3)], [(1, 1)]]) is None


def test_pairs_are_of_one_prompt() -> None:
    assert pairwise_accuracy([[(5, 1)], [(1, 5)]]) is None


def test_exact_match() -> None:
    right, swapped, tied = [(1, 1), (2, 2), (3, 4)], [(1, 1), (3, 2), (2, 4)], [(1, 1), (1, 2)]
    assert exact_match([right, swapped, tied, right]) == 0.5
    # Answers of equal gold may stand in any order, but not on the wrong side of another.
    assert exact_match([[(1, 1), (3, 2), (2, 2)]]) == 1
    assert exact_match([[(2, 1), (3, 2), (1, 2)]]) == 0
    assert exact_match([]) is None


def test_five_best() -> None:
    # Perfect by the judge: 5 (gold best), 4.6 (gold best, tied), 5 (not best). 4.5 is not perfect.
    rankings = [[(5, 4), (4.5, 2)], [(4.6, 5), (3, 5), (1, 2)], [(5, 3), (1, 4), (0, 2)]]
    assert five_best(rankings) == pytest.approx(2 / 3)
    assert five_best([[(4, 5), (3, 1)]]) is None
    assert five_best([[(10, 5), (5, 1)]], perfect=10) == 1


def test_correlations_by_hand() -> None:
    # Ranks 1 2 3 4 against 2 1 3 4: rho = 1 - 6 * 2 / (4 * 15) = 0.8, tau = (5 - 1) / 6.
    ranking = [(1, 2), (2, 1), (3, 3), (4, 4)]
    assert rank_correlation([ranking], "spearman") == pytest.approx(0.8)
    assert rank_correlation([ranking], "kendall") == pytest.approx(4 / 6)
    # The mean over prompts; one where the judge is constant has none.
    turned, constant = [(1, 2), (2, 1)], [(1, 1), (1, 2)]
    assert rank_correlation([ranking, turned, constant], "spearman") == pytest.approx(-0.1)
    assert rank_correlation([ranking, turned, constant], "kendall") == pytest.approx(-1 / 6)
    assert rank_correlation([constant], "kendall") is None


def test_judge_quality_leaves_out_and_counts() -> None:
    quality = judge_quality(
        [
            [(5, 5), (None, 0), (1, 3)],  # one pair left, right, and one perfect score, best
            [(5, 1), (2, 4)],  # one pair, wrong; a perfect score, not best
            [(5, 3), (1, 3)],  # gold says nothing
            [(None, 1), (4, 2)],  # one answer left
            [],
        ]
    )
    assert quality == JudgeQuality(
        pairwise_accuracy=0.5,
        exact_match=0.5,
        five_best=0.5,
        spearman=0.0,
        kendall_tau=0.0,
        n=2,
        pairs=2,
        unscored=2,
        ci95=quality.ci95,
    )
    assert quality.ci95.keys() == {
        "pairwise_accuracy", "exact_match", "five_best", "spearman", "kendall_tau"
    }  # fmt: skip
    assert quality.ci95["spearman"] == (-1, 1)  # t reaches further than a correlation can


def test_every_measure_has_the_interval_of_its_kind() -> None:
    rng = np.random.default_rng(0)
    prompts = [
        [(float(rng.integers(6)), float(rng.integers(6))) for _ in range(int(rng.integers(2, 6)))]
        for _ in range(40)
    ]
    quality = judge_quality(prompts)
    taus = [rank_correlation([answers], "kendall") for answers in prompts]
    found = mean_ci({i: [tau] for i, tau in enumerate(taus) if tau is not None})
    assert quality.kendall_tau == pytest.approx(found.mean)
    assert quality.ci95["kendall_tau"] == (found.low, found.high)
    exact = [exact_match([answers]) for answers in prompts]
    found = win_rate_ci({i: [share] for i, share in enumerate(exact) if share is not None})
    assert quality.ci95["exact_match"] == (found.low, found.high)
    low, high = map(present, quality.ci95["pairwise_accuracy"])
    assert 0 < low < present(quality.pairwise_accuracy) < high < 1


def test_a_judge_without_a_mistake_is_not_certain() -> None:
    quality = judge_quality([[(1, 1), (2, 2), (3, 3)]] * 50)
    low, high = quality.ci95["pairwise_accuracy"]
    assert (quality.pairwise_accuracy, high) == (1, 1)
    assert low == pytest.approx(0.95, abs=0.006)  # Jeffreys: 50 of 50 prompts, not 150 of 150


def test_undefined_is_none() -> None:
    assert judge_quality([]) == JudgeQuality(None, None, None, None, None, 0, 0, 0, {})
    assert judge_quality([[(None, 1), (None, 2)]]) == JudgeQuality(
        None, None, None, None, None, 0, 0, 2, {}
    )


SCORE = st.integers(0, 5).map(float)


@given(st.lists(st.lists(st.tuples(st.none() | SCORE, SCORE), max_size=5), max_size=5))
def test_ranges_and_mirror(prompts: list[list[tuple[float | None, float]]]) -> None:
    quality = judge_quality(prompts)
    turned = judge_quality(
        [[(None if j is None else 5 - j, gold) for j, gold in answers] for answers in prompts]
    )
    if quality.pairwise_accuracy is not None:
        assert quality.pairwise_accuracy + present(turned.pairwise_accuracy) == pytest.approx(1)
    if quality.kendall_tau is not None:
        assert quality.kendall_tau == pytest.approx(-present(turned.kendall_tau))
        assert quality.spearman == pytest.approx(-present(turned.spearman))
    perfect = judge_quality([[(gold, gold) for _, gold in answers] for answers in prompts])
    assert {perfect.pairwise_accuracy, perfect.exact_match} <= {1.0, None}
    assert perfect.five_best in (1.0, None)


def sign(number: float) -> int:
    return (number > 0) - (number < 0)


def tau_b(pairs: list[tuple[float, float]]) -> float:
    """Kendall's τ-b as defined: concordant less discordant over the geometric mean of untied."""
    signs = [(sign(a - b), sign(x - y)) for (a, x), (b, y) in combinations(pairs, 2)]
    numerator = sum(a * b for a, b in signs)
    return numerator / math.sqrt(sum(a != 0 for a, _ in signs) * sum(b != 0 for _, b in signs))


@given(st.lists(st.tuples(SCORE, SCORE), min_size=2, max_size=7))
def test_correlations_are_as_defined(ranking: list[tuple[float, float]]) -> None:
    judged, gold = zip(*ranking, strict=True)
    if len(set(judged)) == 1 or len(set(gold)) == 1:
        assert rank_correlation([ranking], "kendall") is None
        assert rank_correlation([ranking], "spearman") is None
        return
    assert rank_correlation([ranking], "kendall") == pytest.approx(tau_b(ranking))
    ranks = scipy.stats.rankdata(judged), scipy.stats.rankdata(gold)
    assert rank_correlation([ranking], "spearman") == pytest.approx(np.corrcoef(*ranks)[0, 1])


Scores = dict[str, list[float | None]]


def test_agreement_by_hand() -> None:
    # p: 1 2 3 against 1 3 2, two of three pairs agree: (2 - 1) / 3. q: turned around, -1.
    # r: two answers are left, and agree: 1. s: one judge gives all one score, and says nothing.
    first: Scores = {"p": [1, 2, 3], "q": [1, 2], "r": [1, None, 4, 2], "s": [3, 3]}
    second: Scores = {"p": [1, 3, 2], "q": [5, 4], "r": [0, 2, 5, None], "s": [1, 2]}
    assert present(agreement(first, second)).mean == pytest.approx(fmean([1 / 3, -1, 1]))
    assert present(agreement(first, second)).clusters == 3
    assert present(agreement(first, first)).mean == 1
    assert agreement({"s": [3, 3]}, {"s": [1, 2]}) is None
    assert agreement({}, {}) is None


def test_agreement_is_on_the_same_answers() -> None:
    with pytest.raises(ValueError, match="2 prompts were judged by one judge only, such as p"):
        agreement({"p": [1]}, {"q": [1]})
    with pytest.raises(ValueError, match="prompt p: 1 scores against 2"):
        agreement({"p": [1]}, {"p": [1, 2]})
