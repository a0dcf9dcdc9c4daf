"""Prompts of given pairs: conversations for the loop, openings for evaluation, never the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iterdpo.conversation import Message
from iterdpo.data.preferences import OfflinePair
from iterdpo.errors import UserError
from iterdpo.prompts.base import assert_held_out, folded
from iterdpo.prompts.conversations import opening_of, prompt_of
from iterdpo.prompts.pairs import PairsPrompts, Rows
from iterdpo.records import Prompt


def pair(question: str, *more: str, row: str = "line 1", system: str | None = None) -> OfflinePair:
    """A pair whose prompt is a question, and further turns by assistant and user."""
    head = (Message("system", system),) if system else ()
    roles = ("user", "assistant")
    turns = tuple(Message(roles[n % 2], text) for n, text in enumerate((question, *more)))
    return OfflinePair((*head, *turns), "good", "bad", None, None, row)


def pairs_prompts(
    rows: Sequence[OfflinePair],
    *,
    held_out: Sequence[OfflinePair] | None = None,
    held_out_share: float = 0.1,
) -> PairsPrompts:
    return PairsPrompts(held_out_share=held_out_share, pairs=Rows("file", rows, held_out))


MANY = [pair(f"Question {n}?", row=f"line {n + 1}") for n in range(60)]


def test_a_single_question_is_named_by_its_text_as_everywhere() -> None:
    assert prompt_of((Message("user", "Hi"),), "f") == Prompt.of("Hi", "f")


def test_a_conversation_is_told_from_a_text_that_reads_like_it() -> None:
    spoken = pair("Hi", "Hello", "Why?", system="Be kind.").prompt
    prompt = prompt_of(spoken, "f")
    assert prompt.text == "System: Be kind.\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Why?"
    assert prompt.id != prompt_of((Message("user", prompt.text),), "f").id


def test_rows_of_one_conversation_are_one_prompt_with_all_their_pairs() -> None:
    rows = [pair("A?", row="line 1"), pair("B?", row="line 2"), pair("A?", row="line 3")]
    found = pairs_prompts(rows, held_out=())
    (first,) = [p for p in found.loop(1, None, 0) if p.text == "A?"]
    assert first.source == "file, line 1"
    assert [item.row for item in found.asked[first.id].pairs] == ["line 1", "line 3"]
    assert len(found.loop(1, None, 0)) == 2


def test_the_sets_share_no_opening_and_lose_no_pair() -> None:
    rows = [*MANY, *(pair(f"question  {n}?", "Well.", "And?") for n in range(60))]
    found = pairs_prompts(rows, held_out_share=0.4)
    held_out = [*found.evaluation(99, 0), *found.judge_reference(99, 0)]
    loop = found.loop(1, None, 0)
    assert_held_out(loop, held_out)
    openings = {folded(opening_of(item)) for item in loop}
    assert openings.isdisjoint(folded(item.text) for item in held_out)
    kept = sum(len(found.asked[item.id].pairs) for item in loop)
    assert kept + found.held_out_pairs == len(rows)
    assert 30 < found.held_out_pairs < 70  # 40 % of 120 pairs


def test_a_split_of_its_own_is_held_out_whole() -> None:
    tests = [pair("Question 3?", row="line 1"), pair("Another?", row="line 2")]
    found = pairs_prompts(MANY, held_out=tests)
    texts = [prompt.text for prompt in _all(found)]
    assert sorted(texts) == ["Another?", "Question 3?"]
    assert found.held_out_pairs == 1
    assert "Question 3?" not in {prompt.text for prompt in found.loop(1, None, 0)}


def _all(found: PairsPrompts) -> list[Prompt]:
    pools = (found._openings[name] for name in ("evaluation", "judge_reference"))
    return [Prompt.of(text, place) for openings in pools for text, place in openings.items()]


def test_iterations_are_disjoint_until_all_are_dealt_out(caplog: pytest.LogCaptureFixture) -> None:
    found = pairs_prompts(MANY, held_out=())
    dealt = [found.loop(t, 20, 7) for t in (1, 2, 3)]
    assert len({prompt.id for part in dealt for prompt in part}) == 60
    assert not caplog.records
    assert len(found.loop(4, 20, 7)) == 20
    assert "lower pairs.dataset.per_iteration" in caplog.text
    assert {p.id for p in found.loop(1, None, 7)} == {p.id for p in found.loop(2, None, 7)}


def test_another_pair_another_row_or_another_held_out_prompt_is_another_identity() -> None:
    usual = pairs_prompts(MANY).sha256
    assert pairs_prompts(list(MANY)).sha256 == usual
    assert pairs_prompts([*MANY[:-1], pair("New?")]).sha256 != usual
    assert pairs_prompts(MANY, held_out_share=0.5).sha256 != usual
    assert pairs_prompts(MANY, held_out=[pair("Other?")]).sha256 != usual


def test_nothing_to_train_on_is_said() -> None:
    with pytest.raises(UserError, match=r"none of the 1 pairs of file is left"):
        pairs_prompts([pair("A?")], held_out=[pair("a?")]).loop(1, None, 0)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), min_size=1))
def test_any_texts_are_dealt_out_once(texts: Any) -> None:
    rows = [pair(text, row=f"line {n}") for n, text in enumerate(texts)]
    found = pairs_prompts(rows, held_out=())
    loop = found.loop(1, None, 0)
    assert sorted(prompt.text for prompt in loop) == sorted(set(texts))
    assert sum(len(found.asked[prompt.id].pairs) for prompt in loop) == len(texts)
