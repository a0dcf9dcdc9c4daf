"""Two models against each other: counts, rates and intervals, worked out by hand."""

from __future__ import annotations

import math

import pytest

from iterdpo.errors import UserError
from iterdpo.evaluation.head_to_head import (
    OracleArbiter,
    contests,
    duels,
    head_to_head,
    outcomes_by_prompt,
    standard_error,
)
from iterdpo.evaluation.oracles import LabOracle
from iterdpo.evaluation.ratings import Contest
from iterdpo.evaluation.verifiers import score_answer
from iterdpo.records import Candidate, Comparison, FinishReason, Prompt
from tests.narrowing import bounds, present


def answer(model: str, prompt: str, index: int, text: str = "") -> Candidate:
    return Candidate(
        f"{model}.{prompt}.{index}", prompt, index, text, (1,), (2, 3), (-1.0, -1.0),
        FinishReason.STOP, model, 0,
    )  # fmt: skip


def compared(
    prompt: str, forward: float | None, backward: float | None, index: int = 0
) -> Comparison:
    return Comparison(
        f"{prompt}{index}", prompt, f"a.{prompt}.{index}", f"b.{prompt}.{index}", "judge",
        forward, backward, unscored="" if None not in (forward, backward) else "no_mass",
    )  # fmt: skip


WIN, LOSS, TIE, FLIP = (0.9, 0.8), (0.2, 0.1), (0.5, 0.5), (0.9, 0.2)
UNREAD = (0.9, None)


def test_answers_meet_by_prompt_and_sample_number() -> None:
    mine = [answer("a", "p", 0), answer("a", "p", 1), answer("a", "q", 0)]
    theirs = [answer("b", "q", 0), answer("b", "p", 1), answer("b", "r", 0)]
    assert [(x.id, y.id) for x, y in duels(mine, theirs)] == [
        ("a.p.1", "b.p.1"),
        ("a.q.0", "b.q.0"),
    ]


def test_counts_and_win_rate_are_those_of_arithmetic() -> None:
    verdicts: dict[str, list[tuple[float, float | None]]] = {
        "p": [WIN, WIN],
        "q": [LOSS, TIE],
        "r": [FLIP, UNREAD],
        "s": [UNREAD, UNREAD],
    }
    comparisons = [
        compared(prompt, forward, backward, index)
        for prompt, pairs in verdicts.items()
        for index, (forward, backward) in enumerate(pairs)
    ]
    tokens = {item.answer_id: 4 for item in comparisons}
    tokens |= {item.opponent_id: 4 for item in comparisons}
    found = head_to_head(comparisons, tokens)
    assert (found.prompts, found.wins, found.ties, found.losses) == (3, 2, 2, 1)
    assert (found.flips, found.unscored, found.reasons) == (1, 3, {"no_mass": 3})
    # Means of the prompts: 1, 1/4, 1/2. Their mean is 7/12, their variance 7/48.
    rate = present(found.win_rate)
    low, high = bounds(rate)
    assert rate.mean == pytest.approx(7 / 12)
    assert found.standard_error == pytest.approx(math.sqrt(7 / 48 / 3))
    assert 0 <= low < 7 / 12 < high <= 1
    # All answers are equally long, so there is nothing to control for.
    assert present(found.length_controlled).mean == rate.mean
    # (1.96 + 0.842)² · (7/48) / (1/12)² = 164.8
    assert found.prompts_needed == 165


def test_nothing_readable_is_no_number() -> None:
    found = head_to_head([compared("p", *UNREAD)], {})
    assert (found.prompts, found.unscored) == (0, 1)
    assert found.win_rate is None
    assert found.standard_error is None
    assert found.length_controlled is None
    assert found.prompts_needed is None


def test_one_prompt_has_a_rate_and_no_interval() -> None:
    found = head_to_head([compared("p", *WIN)], {"a.p.0": 4, "b.p.0": 9})
    rate = present(found.win_rate)
    assert (rate.mean, rate.low, found.standard_error) == (1.0, None, None)
    assert standard_error({}) is None


def test_a_compared_answer_without_a_length_is_an_error() -> None:
    with pytest.raises(KeyError):
        head_to_head([compared("p", *WIN)], {"a.p.0": 4})


def test_unread_comparisons_enter_no_rating() -> None:
    comparisons = [compared("p", *WIN), compared("p", *UNREAD, 1), compared("q", *FLIP)]
    assert outcomes_by_prompt(comparisons) == {"p": (1.0,), "q": (0.5,)}
    assert list(contests("M1", "M0", comparisons)) == [
        Contest("M1", "M0", 1.0, "p"),
        Contest("M1", "M0", 0.5, "q"),
    ]


def test_the_oracle_refuses_what_is_no_instruction_of_the_lab() -> None:
    other = Prompt.of("write a poem", "prompts.txt, line 7")
    assert LabOracle().knows(Prompt.of("name two animals", "lab"))
    assert not LabOracle().knows(other)
    said = r'^evaluation\.oracle: LabOracle scores no answers to "write a poem" \(.*7\); .*=judge$'
    with pytest.raises(UserError, match=said):
        score_answer(LabOracle(), other, "roses are red")


def test_the_oracle_compares_exact_scores() -> None:
    prompt = Prompt.of("name two animals", "lab")
    good, bad = answer("a", prompt.id, 0, "fox owl"), answer("b", prompt.id, 0, "fox")
    oracle = LabOracle()
    scores = [oracle.score(prompt, item.text) for item in (good, bad)]
    assert scores == [5, 4]
    arbiter = OracleArbiter(oracle)
    pairs = [(good, bad), (bad, good), (good, good)]
    found = list(arbiter.compare([prompt], pairs, None))
    assert [item.outcome for item in found] == [1.0, 0.0, 0.5]
    assert [item.flipped for item in found] == [False] * 3
    assert found[0].raw == ("5 against 4",)
    assert {item.judge for item in found} == {"oracle"}
    assert len({item.id for item in found}) == 3
