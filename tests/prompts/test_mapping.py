"""How a row becomes a prompt, and when it does not."""

from __future__ import annotations

from typing import Any

import pytest

from iterdpo.data.values import RowError
from iterdpo.prompts.mapping import Form, PromptMapping, SkipReason


def test_a_field_alone_is_taken_as_it_stands() -> None:
    assert PromptMapping(field="q").prompt({"q": "  Why?\n", "other": 1}) == "  Why?\n"


@pytest.mark.parametrize(
    ("fields", "prompt"),
    [
        ({"instruction": "Sort.", "input": "b, a"}, "Sort.\n\nb, a"),
        ({"instruction": "Sort.", "input": ""}, "Sort."),
        ({"instruction": "Sort.", "input": None}, "Sort."),
        ({"instruction": "", "input": "b, a"}, "b, a"),
        ({"instruction": " ", "input": "\n"}, SkipReason.EMPTY),
    ],
)
def test_joined_fields(fields: dict[str, object], prompt: str) -> None:
    assert PromptMapping(field="instruction", join=("input",)).prompt(fields) == prompt


@pytest.mark.parametrize(
    ("form", "value"),
    [
        ("turns", ["Why?", "Because."]),
        ("turns", [{"role": "system", "content": "s"}, {"role": "user", "content": "Why?"}]),
        ("turns", [{"from": "human", "value": "Why?"}]),
        ("transcript", "\n\nHuman: Why?\n\nAssistant: Because."),
    ],
)
def test_the_first_turn_of_a_conversation(form: Form, value: object) -> None:
    assert PromptMapping(field="c", form=form).prompt({"c": value}) == "Why?"


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        ({"lang": "en"}, True),
        ({"lang": ["de", "en"]}, True),
        ({"lang": ("de", "fr")}, False),
        ({"parent": None}, True),
        ({"parent": "x"}, False),
        ({"deleted": False}, True),
        ({"deleted": 0}, False),  # false is no number
        ({"rank": 0}, True),
        ({"rank": False}, False),
        ({"lang": "en", "rank": 1}, False),
    ],
)
def test_filters(where: dict[str, Any], kept: bool) -> None:
    fields = {"q": "Why?", "lang": "en", "parent": None, "deleted": False, "rank": 0}
    found = PromptMapping(field="q", where=where).prompt(fields)
    assert found == ("Why?" if kept else SkipReason.FILTERED)


def test_a_filtered_row_may_be_anything() -> None:
    mapping = PromptMapping(field="q", where={"lang": "en"})
    assert mapping.prompt({"q": None, "lang": "de"}) is SkipReason.FILTERED
    with pytest.raises(RowError, match='no field "lang"'):
        mapping.prompt({"q": "Why?"})


def test_long_prompts_are_left_out_and_not_cut() -> None:
    mapping = PromptMapping(field="q", max_chars=4)
    assert mapping.prompt({"q": "Why?"}) == "Why?"
    assert mapping.prompt({"q": "Why??"}) is SkipReason.TOO_LONG


@pytest.mark.parametrize(
    ("form", "value", "said"),
    [
        ("text", 3, "q=3 is a number, not a text"),
        ("text", None, "q=null is null, not a text"),
        ("turns", "Why?", "is a text, not a list of turns"),
        ("turns", [{"role": "assistant", "content": "a"}], "q has no turn of the user"),
        ("transcript", "Why?", 'does not begin with "Human:"'),
    ],
)
def test_a_mapping_that_does_not_fit(form: Form, value: object, said: str) -> None:
    with pytest.raises(RowError) as error:
        PromptMapping(field="q", form=form).prompt({"q": value})
    assert said in str(error.value)


def test_every_field_that_is_looked_at_is_named_once() -> None:
    mapping = PromptMapping(field="a", join=("b",), where={"c": 1, "a": 2})
    assert mapping.columns == ("a", "b", "c")
