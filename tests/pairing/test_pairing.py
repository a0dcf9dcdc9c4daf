from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iterdpo.pairing.base import DropReason, Pairing, Strategy, build_pairs
from iterdpo.pairing.best_worst import BestWorst
from iterdpo.pairing.top_bottom import TopBottom
from iterdpo.records import (
    Candidate,
    FinishReason,
    Judgment,
    Prompt,
    Scored,
    Unscored,
    UnscoredReason,
    record_id,
)

Answer = tuple[str, float | None, bool]
"""(text, score or None, truncated)."""


def records(
    answers: Sequence[Sequence[Answer]],
) -> tuple[list[Prompt], list[Candidate], list[Judgment]]:
    prompts, candidates, judgments = [], [], []
    for number, group in enumerate(answers):
        prompt = Prompt.of(f"prompt {number}", "test")
        prompts.append(prompt)
        for index, (text, score, truncated) in enumerate(group):
            name = record_id("candidate", (prompt.id,), index, text)
            finish = FinishReason.LENGTH if truncated else FinishReason.STOP
            candidates.append(
                Candidate(name, prompt.id, index, text, (), (), (), finish, "writer", 0)
            )
            verdict = Unscored(UnscoredReason.NO_VERDICT, "?") if score is None else Scored(score)
            judgments.append(Judgment(f"j{name}", name, prompt.id, "judge", verdict))
    return prompts, candidates, judgments


def pair_up(
    answers: Sequence[Sequence[Answer]], strategy: Strategy, min_margin: float = 0.0
) -> Pairing:
    return build_pairs(*records(answers), strategy, min_margin)


def dropped(pairing: Pairing) -> dict[DropReason, int]:
    return {reason: count for reason, count in pairing.dropped.items() if count}


def texts(pairing: Pairing) -> list[tuple[str, str]]:
    return [(pair.chosen, pair.rejected) for pair in pairing.kept]


def scored(*scores: float) -> list[Answer]:
    return [(f"answer {index}", score, False) for index, score in enumerate(scores)]


def test_best_against_worst() -> None:
    pairing = pair_up([scored(2, 5, 1, 4)], BestWorst())
    (pair,) = pairing.kept
    assert (pair.chosen, pair.rejected) == ("answer 1", "answer 2")
    assert (pair.chosen_score, pair.rejected_score, pair.margin) == (5, 1, 4)
    assert (pair.prompt, pair.policy, pair.judge) == ("prompt 0", "writer", "judge")
    assert list(pairing.dropped) == list(DropReason)
    assert dropped(pairing) == {}


def test_records_lead_back_to_the_parents() -> None:
    prompts, candidates, judgments = records([scored(2, 5)])
    (pair,) = build_pairs(prompts, candidates, judgments, BestWorst(), 0).kept
    assert (pair.prompt_id, pair.chosen_id, pair.rejected_id) == (
        prompts[0].id,
        candidates[1].id,
        candidates[0].id,
    )
    rejudged = [replace(item, id=f"again {item.id}") for item in judgments]
    (other,) = build_pairs(prompts, candidates, rejudged, BestWorst(), 0).kept
    assert other.id != pair.id


def test_top_against_bottom_never_uses_an_answer_twice() -> None:
    # By falling score: 1 (5), 3 (4), 0 (3), 4 (2), 2 (1).
    pairing = pair_up([scored(3, 5, 1, 4, 2)], TopBottom(2))
    assert texts(pairing) == [("answer 1", "answer 2"), ("answer 3", "answer 4")]
    # Five answers make two pairs; the third pair has too few.
    pairing = pair_up([scored(3, 5, 1, 4, 2)], TopBottom(3))
    assert len(pairing.kept) == 2
    assert dropped(pairing) == {DropReason.TOO_FEW_CANDIDATES: 1}


def test_of_equal_scores_the_lowest_index_is_best_and_the_highest_worst() -> None:
    answers = [scored(5, 1, 5, 1)]
    assert texts(pair_up(answers, BestWorst())) == [("answer 0", "answer 3")]
    assert texts(pair_up(answers, TopBottom(2))) == [
        ("answer 0", "answer 3"),
        ("answer 2", "answer 1"),
    ]


def test_the_order_of_the_records_does_not_matter() -> None:
    prompts, candidates, judgments = records([scored(5, 1, 5, 1), scored(2, 2, 3, 3)])
    straight = build_pairs(prompts, candidates, judgments, TopBottom(2), 0)
    turned = build_pairs(prompts, candidates[::-1], judgments[::-1], TopBottom(2), 0)
    assert turned == straight


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ([("a", None, False), ("b", 4, False)], DropReason.UNSCORED),
        ([("a", float("nan"), False), ("b", 4, False)], DropReason.UNSCORED),
        ([(" \n", 1, False), ("b", 4, False)], DropReason.EMPTY),
        ([("a", 1, True), ("b", 4, False)], DropReason.TRUNCATED),
        ([("b", 4, False)], DropReason.TOO_FEW_CANDIDATES),
        ([], DropReason.TOO_FEW_CANDIDATES),
        ([("a b", 1, False), (" a\n b", 4, False)], DropReason.IDENTICAL),
        ([("a", 4, False), ("b", 4, False)], DropReason.TIE),
        ([("a", 4.0, False), ("b", 4.9, False)], DropReason.MARGIN),
        # Of several reasons the first counts, in one answer and over all of them.
        ([(" ", None, True), ("b", 4, False)], DropReason.UNSCORED),
        ([("", 1, True), ("b", 4, False)], DropReason.EMPTY),
        ([("a", 1, True), ("", 4, False), ("c", 2, False)], DropReason.EMPTY),
        ([("a", 4, False), ("a", 4, False)], DropReason.IDENTICAL),
    ],
)
def test_each_reason(answers: list[Answer], reason: DropReason) -> None:
    pairing = pair_up([answers], BestWorst(), 1.0)
    assert pairing.kept == ()
    assert dropped(pairing) == {reason: 1}


def test_answers_set_aside_leave_the_others_to_pair() -> None:
    answers = [("", 5, False), ("a", 4, False), ("b", None, False), ("c", 2, False), ("d", 0, True)]
    pairing = pair_up([answers], TopBottom(2))
    assert texts(pairing) == [("a", "c")]
    assert dropped(pairing) == {DropReason.UNSCORED: 1}


def test_the_margin_itself_is_enough() -> None:
    assert len(pair_up([scored(4, 5)], BestWorst(), 1.0).kept) == 1


def test_what_is_wrong_with_the_records_is_named() -> None:
    prompts, candidates, judgments = records([scored(1, 2)])
    with pytest.raises(ValueError, match=f"{candidates[1].id}: 0 judgments"):
        build_pairs(prompts, candidates, judgments[:1], BestWorst(), 0)
    with pytest.raises(ValueError, match=f"{candidates[0].id}: 2 judgments"):
        build_pairs(prompts, candidates, [*judgments, judgments[0]], BestWorst(), 0)
    with pytest.raises(ValueError, match=f"{candidates[0].id}: no prompt"):
        build_pairs([], candidates, judgments, BestWorst(), 0)
    with pytest.raises(ValueError, match="twice"):
        build_pairs(prompts * 2, candidates, judgments, BestWorst(), 0)
    for mixed in (
        (prompts, [candidates[0], replace(candidates[1], policy="M9")], judgments),
        (prompts, candidates, [judgments[0], replace(judgments[1], judge="M9")]),
    ):
        with pytest.raises(ValueError, match="different writers or judges"):
            build_pairs(*mixed, BestWorst(), 0)
    with pytest.raises(ValueError, match="k=0"):
        TopBottom(0)


ANSWERS = st.tuples(
    st.sampled_from(["a", "b", " b ", "c", "d", "", " "]) | st.text(max_size=3),
    st.none() | st.sampled_from([0.0, 1.0, 2.5, 4.0, 5.0]),
    st.booleans(),
)


@given(
    st.lists(st.lists(ANSWERS, max_size=7), max_size=4),
    st.sampled_from([BestWorst(), TopBottom(1), TopBottom(2), TopBottom(4)]),
    st.sampled_from([0.0, 1.0, 2.0]),
)
def test_invariants(answers: list[list[Answer]], strategy: Strategy, min_margin: float) -> None:
    pairing = pair_up(answers, strategy, min_margin)
    assert len(pairing.kept) + sum(pairing.dropped.values()) == len(answers) * strategy.k
    used = [name for pair in pairing.kept for name in (pair.chosen_id, pair.rejected_id)]
    assert len(used) == len(set(used))
    assert len({pair.id for pair in pairing.kept}) == len(pairing.kept)
    for pair in pairing.kept:
        assert pair.chosen.split() != pair.rejected.split()
        assert pair.margin > 0
        assert pair.margin >= min_margin


@given(st.lists(ANSWERS, max_size=7), st.sampled_from([0.0, 1.0]))
def test_one_pair_of_top_bottom_is_best_worst(answers: list[Answer], min_margin: float) -> None:
    assert pair_up([answers], TopBottom(1), min_margin) == pair_up(
        [answers], BestWorst(), min_margin
    )
