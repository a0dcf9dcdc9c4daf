"""Figures of a judge on labelled answers, against written-out arithmetic and scipy."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from scipy.stats import kendalltau, spearmanr

from iterdpo.evaluation.judge_check import JudgedAnswers, check_judge
from iterdpo.records import Judgment, Scored, Unscored, UnscoredReason


def judged(
    prompt: str, answers: Sequence[str], scores: Sequence[float | None], mass: float | None = None
) -> JudgedAnswers:
    verdicts = [
        Unscored(UnscoredReason.NO_MASS) if score is None else Scored(score) for score in scores
    ]
    return JudgedAnswers(
        prompt,
        tuple(answers),
        tuple(Judgment("j", "c", prompt, "judge", verdict, mass=mass) for verdict in verdicts),
    )


def mean(estimate: object) -> float:
    return float(estimate.mean)  # type: ignore[attr-defined]


def test_pairs_are_right_wrong_or_tied() -> None:
    found = check_judge(
        [
            judged("a", ("long one", "short"), (4, 2)),  # right
            judged("b", ("short", "long one"), (1, 3)),  # wrong, and the longer is the worse
            judged("c", ("xy", "a longer one"), (3, 3)),  # tied, likewise
            judged("d", ("xy", "ab"), (5, None)),  # unscored
        ],
        5.0,
    )
    assert mean(found.pairwise_accuracy) == pytest.approx((1 + 0 + 0.5) / 3)
    assert mean(found.accuracy_longer_wrong) == pytest.approx((0 + 0.5) / 2)
    assert mean(found.longer_better) == pytest.approx((1 + 0 + 0 + 0.5) / 4)
    assert mean(found.ties) == pytest.approx(1 / 3)
    assert mean(found.exact_match) == pytest.approx(1 / 3)
    assert mean(found.scored) == pytest.approx(7 / 8)
    assert found.unscored == {"no_mass": 1}
    assert found.mass is None


def test_correlations_of_ranked_answers_are_those_of_scipy() -> None:
    scores = [(4.0, 3.0, 3.5, 1.0), (2.0, 4.0, 1.0, 3.0)]
    found = check_judge([judged(str(n), "abcd", own) for n, own in enumerate(scores)], 5.0)
    gold = [4, 3, 2, 1]
    for estimate, reference in ((found.spearman, spearmanr), (found.kendall_tau, kendalltau)):
        expected = [float(reference(own, gold).statistic) for own in scores]
        assert mean(estimate) == pytest.approx(sum(expected) / 2)
        assert estimate is not None
        assert estimate.low is not None
        assert -1 <= estimate.low <= (estimate.high or 0) <= 1


def test_rows_of_one_prompt_are_one_cluster() -> None:
    rows = [judged("a", "xy", (2, 1)), judged("a", "zw", (1, 2)), judged("b", "xy", (2, 1))]
    found = check_judge(rows, 5.0).pairwise_accuracy
    assert found is not None
    assert (found.n, found.clusters) == (3, 2)


def test_five_best_is_over_the_answers_with_a_perfect_score() -> None:
    rows = [judged("a", "xyz", (5, 4.6, 1)), judged("b", "xy", (2, 1))]
    assert mean(check_judge(rows, 5.0).five_best) == pytest.approx(1 / 2)
    assert check_judge(rows, None).five_best is None


def test_margins_are_sorted_into_bins_of_equal_numbers_without_ties() -> None:
    scores = [(2.0, 1.0), (1.0, 3.0), (4.0, 1.0), (5.0, 1.0), (3.0, 3.0)]
    found = check_judge([judged(str(n), "xy", own) for n, own in enumerate(scores)], 5.0).margins
    assert [(own.low, own.high, own.n, own.accuracy) for own in found] == [
        (1, 1, 1, 1), (2, 2, 1, 0), (3, 3, 1, 1), (4, 4, 1, 1),
    ]  # fmt: skip


def test_only_an_interval_above_a_half_clears_chance() -> None:
    right = [judged(str(n), "xy", (2, 1)) for n in range(20)]
    wrong = [judged(f"w{n}", "xy", (1, 2)) for n in range(18)]
    assert check_judge(right, 5.0).above_chance
    assert not check_judge([*right, *wrong], 5.0).above_chance
