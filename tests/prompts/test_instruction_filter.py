"""Instructions asked for, read from lists of every shape, and sifted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iterdpo.prompts.instruction_filter import (
    FilterReason,
    InstructionFilter,
    Rules,
    read_instructions,
    request_text,
)

RULES = Rules(
    min_words=4,
    max_words=12,
    keywords=("graph", "go to", "c++"),
    ascii_start=True,
    max_similarity=0.7,
)
CUT = FilterReason.CUT_OFF


def test_the_request_numbers_on_from_its_examples() -> None:
    text = request_text(["Name a\n\n fish.", "Sing {0} %s {{ x }}."], 3)
    assert text.endswith("\n\n1. Name a fish.\n2. Sing {0} %s {{ x }}.")
    assert "with 3 more tasks, numbered 3 to 5." in text


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("9. Name a fish.\n10. Name a bird.", ["Name a fish.", "Name a bird."]),
        ("Sure! Here are 2 tasks:\n\n9. Name a fish.\n\n10. Name a bird.\n",
         ["Name a fish.", "Name a bird."]),
        ("1) Name a fish.\n2) Name a bird.", ["Name a fish.", "Name a bird."]),
        ("Task 9: Name a fish.\nTask 10: Name a bird.", ["Name a fish.", "Name a bird."]),
        ("**Task 9:** Name a fish.\n### 10. Name a bird.", ["Name a fish.", "Name a bird."]),
        ("**9.** Name a fish.\n**10. Name a bird.**", ["Name a fish.", "Name a bird."]),
        ("9. **Fish:** name three.\n10. *Now* a bird.", ["Fish: name three.", "Now a bird."]),
        ('9. "Name a fish."\n10. “Name a bird.”', ["Name a fish.", "Name a bird."]),
        ('9. "Fish" or "fishes"', ['"Fish" or "fishes"']),
        ("9. Compute 2 ** 3 ** 2 for me.", ["Compute 2 ** 3 ** 2 for me."]),
        # A list, a year or a decimal inside an item is a part of it.
        ("9. Sort these:\n1. pear\n2. fig\n10. Name a bird.",
         ["Sort these:\n1. pear\n2. fig", "Name a bird."]),
        ("9. What happened in\n1989. Say it briefly.", ["What happened in\n1989. Say it briefly."]),
        ("9. Round\n10.5 to one digit.", ["Round\n10.5 to one digit."]),
        # No list, or nothing at all.
        ("Name a fish.", []),
        ("", []),
        ("9.\n10. Name a bird.", ["", "Name a bird."]),
    ],
)  # fmt: skip
def test_lists(text: str, items: list[str]) -> None:
    assert read_instructions(text, cut_off=False) == items


def test_the_item_that_was_cut_off_is_dropped() -> None:
    assert read_instructions("9. Name a fish.\n10. Name a bi", cut_off=True) == [
        "Name a fish.",
        CUT,
    ]
    assert read_instructions("9. Nam", cut_off=True) == [CUT]
    assert read_instructions("Sure! Here", cut_off=True) == []


@given(st.text(), st.booleans())
def test_any_text_can_be_read(text: str, cut_off: bool) -> None:
    for item in read_instructions(text, cut_off):
        assert item is CUT or item == item.strip()


SENTENCE = st.lists(st.sampled_from("name three fish and birds".split()), min_size=1, max_size=6)


@given(st.lists(SENTENCE.map(" ".join), min_size=1, max_size=8), st.integers(1, 20))
def test_a_plain_list_gives_back_what_was_put_in(sentences: list[str], first: int) -> None:
    text = "\n".join(f"{n}. {sentence}" for n, sentence in enumerate(sentences, start=first))
    assert read_instructions(text, cut_off=False) == sentences


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Name three fresh fish.", None),
        ("Name a fish.", FilterReason.TOO_SHORT),
        ("", FilterReason.TOO_SHORT),
        ("word " * 13, FilterReason.TOO_LONG),
        ("Draw a GRAPH of this.", FilterReason.KEYWORD),
        ("Write a short paragraph now.", None),
        ("Tell me where to go\nto eat.", FilterReason.KEYWORD),
        ("Say why C++ is fast.", FilterReason.KEYWORD),
        ("- name three fresh fish.", FilterReason.PUNCTUATION),
        ("Étudie trois poissons frais.", FilterReason.NON_ASCII),
        ("the  POOL holds this text.", FilterReason.DUPLICATE),
        # 5 of 5 words against 6: 2 * 5 / 11 = 0.91. 4 of 6 against 6: 0.67.
        ("Every pool holds this text.", FilterReason.SIMILAR),
    ],
)
def test_every_filter(text: str, reason: FilterReason | None) -> None:
    pool = ["The pool holds this text.", "Nearly every pool holds this text."]
    assert InstructionFilter(RULES, pool).take(text) == reason


def test_what_is_kept_is_in_the_pool_and_what_is_dropped_is_not() -> None:
    kept_by = InstructionFilter(RULES, [])
    assert kept_by.take("Draw a graph of fish prices.") is FilterReason.KEYWORD
    assert kept_by.take("Draw a table of fish prices.") is None
    assert kept_by.take("Draw a table of fish prices.") is FilterReason.DUPLICATE
    assert kept_by.take("Draw a table of bird prices.") is FilterReason.SIMILAR


def test_other_languages_where_they_are_wanted_and_no_keywords() -> None:
    from dataclasses import replace

    open_rules = replace(RULES, ascii_start=False, keywords=())
    assert InstructionFilter(open_rules, []).take("Étudie trois poissons frais.") is None
    assert InstructionFilter(open_rules, []).take("Plot a graph of this.") is None
    assert InstructionFilter(RULES, []).take("Plot a graph of this.") is FilterReason.KEYWORD
