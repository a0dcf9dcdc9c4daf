"""How a row becomes a prompt, and when it does not."""

from __future__ import annotations

from typing import Any

import pytest

from iterdpo.data.values import RowError
from iterdpo.prompts.mapping import Form, SkipReason, reference_of
from tests.prompts.sources import prompt_mapping


def test_a_field_alone_is_taken_as_it_stands() -> None:
    assert prompt_mapping().prompt({"q": "  Why?\n", "other": 1}, "q") == "  Why?\n"


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
    assert prompt_mapping(join=("input",)).prompt(fields, "instruction") == prompt


def test_an_input_that_nobody_joins_is_refused() -> None:
    row = {"instruction": "Sort.", "input": "b, a", "q": "Sort."}
    with pytest.raises(RowError, match=r'^input="b, a" would be lost: name it in prompts\.dataset'):
        prompt_mapping().prompt(row, "instruction")
    assert prompt_mapping().prompt(row, "q") == "Sort."
    filtered = prompt_mapping(where={"input": ""}).prompt(row, "instruction")
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
    assert prompt_mapping(form=form).prompt({"c": value}, "c") == "Why?"


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
    found = prompt_mapping(where=where).prompt(fields, "q")
    assert found == ("Why?" if kept else SkipReason.FILTERED)


def test_a_filtered_row_may_be_anything() -> None:
    mapping = prompt_mapping(where={"lang": "en"})
    assert mapping.prompt({"q": None, "lang": "de"}, "q") is SkipReason.FILTERED
    with pytest.raises(RowError, match='no field "lang"'):
        mapping.prompt({"q": "Why?"}, "q")


def test_long_prompts_are_left_out_and_not_cut() -> None:
    mapping = prompt_mapping(max_chars=4)
    assert mapping.prompt({"q": "Why?"}, "q") == "Why?"
    assert mapping.prompt({"q": "Why??"}, "q") is SkipReason.TOO_LONG


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
        prompt_mapping(form=form).prompt({"q": value}, "q")
    assert said in str(error.value)


@pytest.mark.parametrize(("value", "reference"), [("four", "four"), (4, "4"), (0.5, "0.5")])
def test_a_right_answer_is_a_text_or_a_number(value: object, reference: str) -> None:
    assert reference_of({"answer": value}, "answer") == reference


def test_a_row_may_have_no_right_answer() -> None:
    assert reference_of({"answer": None}, "answer") is None
    assert reference_of({}, None) is None
    for wrong in ({"answer": ["4"]}, {"answer": True}, {}):
        with pytest.raises(RowError, match="answer"):
            reference_of(wrong, "answer")
