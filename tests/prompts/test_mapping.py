"""How a row becomes a prompt, and when it does not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from iterdpo.conversation import Message
from iterdpo.data.values import RowError
from iterdpo.prompts.mapping import Form, PromptMapping, SkipReason
from tests.prompts.sources import prompt_mapping


def asked(mapping: PromptMapping, fields: Mapping[str, object], field: str) -> str | SkipReason:
    """Return the question of a row that asks a single one."""
    found = mapping.conversation(fields, field)
    if isinstance(found, SkipReason):
        return found
    (question,) = found
    assert question.role == "user"
    return question.content


def test_a_field_alone_is_taken_as_it_stands() -> None:
    assert asked(prompt_mapping(), {"q": "  Why?\n", "other": 1}, "q") == "  Why?\n"


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
    assert asked(prompt_mapping(join=("input",)), fields, "instruction") == prompt


def test_an_input_that_nobody_joins_is_refused() -> None:
    row = {"instruction": "Sort.", "input": "b, a", "q": "Sort."}
    with pytest.raises(RowError, match=r'^input="b, a" would be lost: name it in prompts\.dataset'):
        asked(prompt_mapping(), row, "instruction")
    assert asked(prompt_mapping(), row, "q") == "Sort."
    filtered = asked(prompt_mapping(where={"input": ""}), row, "instruction")
    assert filtered is SkipReason.FILTERED


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
    assert asked(prompt_mapping(form=form), {"c": value}, "c") == "Why?"


@pytest.mark.parametrize(
    "value",
    [
        ["Why?", "Because.", "And how?", "Thus."],
        "\n\nHuman: Why?\n\nAssistant: Because.\n\nHuman: And how?\n\nAssistant: Thus.",
    ],
    ids=["turns", "transcript"],
)
def test_a_whole_conversation_up_to_what_is_answered(value: object) -> None:
    why, because = Message("user", "Why?"), Message("assistant", "Because.")
    mapping = prompt_mapping(form="conversation")
    assert mapping.conversation({"c": value}, "c") == (why, because, Message("user", "And how?"))
    assert mapping.conversation({"c": "Why?"}, "c") == (why,)
    joined = prompt_mapping(form="conversation", join=("more",), max_chars=25)
    row = {"c": value, "more": "Say."}
    whole = (why, because, Message("user", "And how?\n\nSay."))
    assert joined.conversation(row, "c") is SkipReason.TOO_LONG  # 4 + 8 + 8 + 2 + 4 and no more
    assert prompt_mapping(form="conversation", join=("more",)).conversation(row, "c") == whole


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
    found = asked(prompt_mapping(where=where), fields, "q")
    assert found == ("Why?" if kept else SkipReason.FILTERED)


def test_a_filtered_row_may_be_anything() -> None:
    mapping = prompt_mapping(where={"lang": "en"})
    assert asked(mapping, {"q": None, "lang": "de"}, "q") is SkipReason.FILTERED
    with pytest.raises(RowError, match='no field "lang"'):
        asked(mapping, {"q": "Why?"}, "q")


def test_long_prompts_are_left_out_and_not_cut() -> None:
    mapping = prompt_mapping(max_chars=4)
    assert asked(mapping, {"q": "Why?"}, "q") == "Why?"
    assert asked(mapping, {"q": "Why??"}, "q") is SkipReason.TOO_LONG


@pytest.mark.parametrize(
    ("form", "value", "said"),
    [
        ("text", 3, "q=3 is a number, not a text"),
        ("text", None, "q=null is null, not a text"),
        ("turns", "Why?", "is a text, not a list of turns"),
        ("turns", [{"role": "assistant", "content": "a"}], "q has no turn of the user"),
        ("transcript", "Why?", 'does not begin with "Human:"'),
        ("text", "[{'role': 'user', 'content': 'Why?'}]", "is a list of turns that was written"),
        ("transcript", '[{"from": "human", "value": "Why?"}]', "is a list of turns that was"),
    ],
)
def test_a_mapping_that_does_not_fit(form: Form, value: object, said: str) -> None:
    with pytest.raises(RowError) as error:
        asked(prompt_mapping(form=form), {"q": value}, "q")
    assert said in str(error.value)
