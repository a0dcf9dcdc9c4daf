"""Everything that is measured of one policy, on answers whose numbers can be worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from iterdpo.evaluation.report import evaluate
from iterdpo.records import (
    Candidate,
    FinishReason,
    Judgment,
    Prompt,
    Scored,
    Unscored,
    UnscoredReason,
)
from iterdpo.verifiers.base import Verifier

PROMPTS = [Prompt.of("first", "test"), Prompt.of("second", "test")]


class Length(Verifier):
    """Scores an answer by its number of words, at most 5."""

    perfect = 5.0

    def score(self, prompt: Prompt, response: str) -> float:
        return float(min(5, len(response.split())))


def answers(*texts: str, prompt: Prompt, cut: bool = False) -> list[Candidate]:
    return [
        Candidate(
            f"{prompt.text}{index}", prompt.id, index, text, (1,), (7,) * len(text.split()), (),
            FinishReason.LENGTH if cut else FinishReason.STOP, "p", 0,
        )
        for index, text in enumerate(texts)
    ]  # fmt: skip


def judged(candidates: list[Candidate], *scores: float | None) -> list[Judgment]:
    verdicts = [
        Unscored(UnscoredReason.NO_VERDICT) if score is None else Scored(score) for score in scores
    ]
    return [
        Judgment(item.id, item.id, item.prompt_id, "judge", verdict)
        for item, verdict in zip(candidates, verdicts, strict=True)
    ]


SAMPLED = [
    *answers("a b c d e", "a b c d", "a b", "a b", prompt=PROMPTS[0]),
    *answers("a", "a b c", "a b c d e", "a b c d", prompt=PROMPTS[1], cut=True),
]
OWN = judged(SAMPLED, 4.8, 4.0, 2.0, 3.0, 1.0, None, 2.0, 5.0)
GREEDY = [*answers("a b c", prompt=PROMPTS[0]), *answers("a b c d e", prompt=PROMPTS[1])]


ORACLE = Length()


def measure(oracle: Any = ORACLE, own: Any = OWN) -> Any:
    return evaluate(PROMPTS, SAMPLED, GREEDY, own, PROMPTS, SAMPLED, OWN, oracle)


def test_quality_is_of_sampled_and_greedy_answers() -> None:
    found = measure()
    # 5, 4, 2, 2 and 1, 3, 5, 4: both prompts' means are 13/4.
    assert found.quality.mean == pytest.approx(26 / 8)
    assert found.quality.ci95 == (pytest.approx(3.25), pytest.approx(3.25))
    assert found.quality.perfect_share == 2 / 8
    # 3 and 5: mean 4, standard error 1, t(0.975, 1) = 12.706.
    assert found.quality.greedy_mean == 4
    assert found.quality.greedy_ci95 == (
        pytest.approx(4 - 12.706, abs=1e-3),
        pytest.approx(4 + 12.706, abs=1e-3),
    )
    assert found.sampled_by_prompt[PROMPTS[0].id] == (5, 4, 2, 2)
    assert found.greedy_by_prompt == {PROMPTS[0].id: 3, PROMPTS[1].id: 5}


def test_a_judge_is_measured_on_what_it_scored_and_the_rest_is_counted() -> None:
    found = measure().judge.own_answers
    # First prompt: all five pairs that differ in gold are right. Second: 1 < 5, 1 < 4 right and
    # 5 against 4 wrong; the unscored answer is in no pair. 7 of 8.
    assert found.pairwise_accuracy == pytest.approx(7 / 8)
    assert found.exact_match == 0.5
    # Scored perfect (above 4.5): 4.8 with the best gold, and 5.0 with gold 4 beside 5.
    assert found.five_best == 0.5
    assert (found.n, found.unscored) == (8, 1)
    assert measure().judge.parse_rate == pytest.approx(14 / 16)
    bins = {(item.low, item.high): (item.n, item.judged, item.gold) for item in found.calibration}
    # Judged 2.0 twice, with gold 2 and 5; the highest bin holds 4.8 (gold 5) and 5.0 (gold 4).
    assert bins[2.0, 2.5] == (2, 2.0, 3.5)
    assert bins[4.5, 5.0] == (2, pytest.approx(4.9), 4.5)
    assert sum(count for count, _, _ in bins.values()) == 7


def test_scores_that_are_not_on_the_scale_are_not_calibrated() -> None:
    wide = judged(SAMPLED, *[10.0 * score for score in (1, 2, 3, 4, 5, 6, 7, 8)])
    found = measure(own=wide).judge.own_answers
    assert found.calibration == ()
    assert found.pairwise_accuracy is not None
    # Five of nine points are no five of five, though they could be either by their looks.
    other = evaluate(PROMPTS, SAMPLED, GREEDY, OWN, PROMPTS, SAMPLED, OWN, ORACLE, (0.0, 9.0))
    assert other.judge.own_answers.calibration == other.judge.reference_set.calibration == ()
    assert (
        other.judge.own_answers.pairwise_accuracy == measure().judge.own_answers.pairwise_accuracy
    )


def test_choosing_by_its_own_judgment() -> None:
    best = {item.n: item.quality.mean for item in measure().best_of}
    assert set(best) == {1, 2, 4}
    assert best[1] == pytest.approx(26 / 8)
    # Of all four: 4.8 is gold 5; 5.0 is gold 4.
    assert best[4] == pytest.approx((5 + 4) / 2)


def test_what_the_answers_are_like() -> None:
    found = measure()
    assert found.response_tokens == 26 / 8
    assert found.truncated_share == 0.5
    assert found.duplicate_share == 2 / 8  # "a b" twice to the first prompt
    assert found.judged_mean == pytest.approx((4.8 + 4 + 2 + 3 + 1 + 2 + 5) / 7)
    assert found.judged_by_prompt[PROMPTS[1].id] == (1.0, 2.0, 5.0)
    # Of the seven scored ones.
    from scipy.stats import spearmanr

    expected = spearmanr([4.8, 4, 2, 3, 1, 2, 5], [5, 4, 2, 2, 1, 5, 4]).statistic
    assert found.judge.length_correlation == pytest.approx(expected)


def test_without_an_oracle_there_is_only_what_needs_none() -> None:
    found = measure(oracle=None)
    assert found.quality is None
    assert found.best_of == ()
    assert found.sampled_by_prompt == found.greedy_by_prompt == {}
    fixed = found.judge.reference_set
    assert (fixed.pairwise_accuracy, fixed.calibration, fixed.n, fixed.unscored) == (None, (), 8, 1)
    assert found.judge.length_correlation is not None
    assert found.judged_by_prompt


def test_a_judge_that_nobody_can_read_has_no_number() -> None:
    found = measure(own=judged(SAMPLED, *[None] * 8))
    assert found.judged_mean is None
    assert found.judged_by_prompt == {}
    assert found.judge.own_answers.pairwise_accuracy is None
    assert found.judge.own_answers.unscored == 8
    assert found.judge.length_correlation is None


def test_a_model_that_answered_nothing_has_no_number() -> None:
    found = evaluate(PROMPTS, [], [], [], PROMPTS, [], [], Length())
    assert found.quality is None
    assert found.truncated_share is found.duplicate_share is found.judge.parse_rate is None
    assert found.response_tokens == 0
