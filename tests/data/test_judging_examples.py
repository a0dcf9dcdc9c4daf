"""EFT examples: verdicts that agree with people are kept, and their scores balanced."""

from __future__ import annotations

from collections import Counter

import pytest

from iterdpo.data.instructions import RankedAnswers
from iterdpo.data.judging_examples import (
    EftDrop,
    JudgingExample,
    SampledVerdict,
    agrees,
    balance,
    build_judging_examples,
    read_judgments,
)
from iterdpo.data.rows import Row
from iterdpo.errors import UserError
from iterdpo.judging.verdicts import parse_score


def said(score: float) -> SampledVerdict:
    text = f"Reasons.\nScore: {score:g}"
    return SampledVerdict(text, parse_score(text))


UNREAD = SampledVerdict("I cannot say.", parse_score("I cannot say."))


def ranked(count: int, name: str = "q") -> RankedAnswers:
    return RankedAnswers(name, tuple(f"answer {n}" for n in range(count)), name)


@pytest.mark.parametrize(
    ("scores", "right"),
    [
        ([5, 3, 1], True), ([5, 5, 1], True), ([5, 1, 1], True), ([3, 3, 3], False),
        ([4, 5, 1], False), ([5, 2, 3], False), ([2, 4], False), ([3.5, 3.4], True),
    ],
)  # fmt: skip
def test_agreement(scores: list[float], right: bool) -> None:
    assert agrees(scores) == right


def test_a_judgment_is_kept_whole_or_not_at_all() -> None:
    # Three draws on two answers: the first disagrees, the second agrees, the third is spare.
    made = build_judging_examples([ranked(2)], [[[said(2), said(5), said(4)],
                                                 [said(3), said(1), said(0)]]])  # fmt: skip
    assert [(example.response, example.score) for example in made.kept] == [
        ("answer 0", 5.0), ("answer 1", 1.0),
    ]  # fmt: skip
    assert made.kept[0].judgment == "Reasons.\nScore: 5"
    assert made.dropped == dict.fromkeys(EftDrop, 0) | {EftDrop.DISAGREES: 2, EftDrop.SPARE: 2}


def test_every_verdict_is_kept_or_counted() -> None:
    made = build_judging_examples(
        [ranked(1, "one"), ranked(3, "unread"), ranked(3, "good"), ranked(2, "never")],
        [
            [[said(5)]],
            [[said(5)], [UNREAD], [said(1)]],
            [[said(4)], [said(4)], [said(2)]],
            [[], []],
        ],
    )
    # 4, 4, 2: the common score comes as often as the next, once.
    assert sorted(example.score for example in made.kept) == [2.0, 4.0]
    assert made.dropped[EftDrop.TOO_FEW_ANSWERS] == 1
    assert made.dropped[EftDrop.UNREADABLE] == 3
    assert made.dropped[EftDrop.COMMON_SCORE] == 1
    assert len(made.kept) + sum(made.dropped.values()) == 1 + 3 + 3


def example(score: float, number: int) -> JudgingExample:
    return JudgingExample("q", f"answer {number}", f"Score: {score:g}", score, "line 1")


@pytest.mark.parametrize(
    ("ratio", "fours"), [(1.0, 3), (1.5, 4), (2.0, 6), (10.0, 10)]
)  # fmt: skip
def test_the_common_score_is_thinned_in_proportion_to_the_next(ratio: float, fours: int) -> None:
    scores = [4.0] * 10 + [3.0] * 3 + [5.0] * 2
    examples = [example(score, n) for n, score in enumerate(scores)]
    kept = balance(examples, ratio, seed=0)
    assert Counter(item.score for item in kept) == {4.0: fours, 3.0: 3, 5.0: 2}
    assert kept == [item for item in examples if item in kept]
    assert balance(examples[::-1], ratio, 0)[::-1] == kept  # by content, not by place


def test_another_seed_thins_otherwise_and_one_score_is_left_alone() -> None:
    examples = [example(4.0, n) for n in range(50)] + [example(3.0, n) for n in range(5)]
    assert balance(examples, 1.0, 0) != balance(examples, 1.0, 1)
    assert balance(examples[:50], 1.0, 0) == examples[:50]
    assert balance([], 1.0, 0) == []


def test_verdicts_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="do not fit its 2 answers"):
        build_judging_examples([ranked(2)], [[[said(1)]]])
    with pytest.raises(ValueError, match="do not fit"):
        build_judging_examples([ranked(2)], [[[said(1)], []]])
    with pytest.raises(ValueError, match="max_ratio"):
        build_judging_examples([], [], max_ratio=0.5)


def test_given_judgments_are_read_with_their_scores() -> None:
    fields = {"prompt": "q", "response": "a", "judgment": "Good.\nScore: 4"}
    assert read_judgments([Row("line 1", fields)], parse_score, key="k") == [
        JudgingExample("q", "a", "Good.\nScore: 4", 4.0, "line 1")
    ]
    with pytest.raises(UserError, match=r"line 1: judgment has no readable score \(no_verdict\)"):
        read_judgments([Row("line 1", fields | {"judgment": "Good."})], parse_score, key="k")
    with pytest.raises(UserError, match='line 1 has no field "judgment"'):
        read_judgments([Row("line 1", {"prompt": "q", "response": "a"})], parse_score, key="k")
