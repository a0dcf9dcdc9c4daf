"""Preference pairs in every format, and what becomes of the rows that are none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from iterdpo.conversation import Message
from iterdpo.data.preferences import OfflinePair, OfflinePairs, PairDrop, PairFields, read_pairs
from iterdpo.data.rows import Row
from iterdpo.data.source import RowSource, read_source
from iterdpo.errors import UserError

USER, GOOD, BAD = (
    {"role": "user", "content": "Name a fish."},
    {"role": "assistant", "content": "Trout."},
    {"role": "assistant", "content": "Whale."},
)
SYSTEM = {"role": "system", "content": "Be brief."}
PROMPT = (Message("user", "Name a fish."),)
BRIEF = (Message("system", "Be brief."), *PROMPT)


def read(*rows: Mapping[str, object], **settings: Any) -> OfflinePairs:
    numbered = [Row(f"line {n}", row) for n, row in enumerate(rows, start=1)]
    made = read_pairs(numbered, key="preferences.path=FILE", **settings)
    assert len(made.kept) + sum(made.dropped.values()) == len(rows)
    assert list(made.dropped) == list(PairDrop)
    return made


def pair(*rows: Mapping[str, object]) -> OfflinePair:
    (one,) = read(*rows).kept
    return one


def refusal(*rows: Mapping[str, object]) -> str:
    with pytest.raises(UserError) as error:
        read(*rows)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        # TRL, standard and conversational, with an explicit prompt.
        ({"prompt": "Name a fish.", "chosen": "Trout.", "rejected": "Whale."}, PROMPT),
        ({"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]}, PROMPT),
        ({"prompt": [SYSTEM, USER], "chosen": [GOOD], "rejected": [BAD]}, BRIEF),
        ({"prompt": [USER], "chosen": GOOD, "rejected": BAD}, PROMPT),
        ({"prompt": "Name a fish.", "chosen": GOOD, "rejected": "Whale."}, PROMPT),
        ({"prompt": [USER], "chosen": "Trout.", "rejected": "Whale."}, PROMPT),
        # TRL with an implicit prompt.
        ({"chosen": [USER, GOOD], "rejected": [USER, BAD]}, PROMPT),
        ({"chosen": [SYSTEM, USER, GOOD], "rejected": [SYSTEM, USER, BAD]}, BRIEF),
        # UltraFeedback-binarized: both.
        ({"prompt": "Name a fish.", "chosen": [USER, GOOD], "rejected": [USER, BAD]}, PROMPT),
        # HH-RLHF, and the form with the prompt split off.
        ({"chosen": "\n\nHuman: Name a fish.\n\nAssistant: Trout.",
          "rejected": "\n\nHuman: Name a fish.\n\nAssistant: Whale."}, PROMPT),
        ({"prompt": "\n\nHuman: Name a fish.\n\nAssistant:", "chosen": "Trout.",
          "rejected": "Whale."}, PROMPT),
        # Alpaca: what is asked, and of what.
        ({"instruction": "Name", "input": "a fish.", "chosen": "Trout.", "rejected": "Whale."},
         (Message("user", "Name\n\na fish."),)),
        ({"instruction": "Name a fish.", "input": "", "chosen": "Trout.", "rejected": "Whale."},
         PROMPT),
        # A system message in a field of its own.
        ({"system": "Be brief.", "prompt": "Name a fish.", "chosen": "Trout.",
          "rejected": "Whale."}, BRIEF),
        ({"system": "Be brief.", "chosen": [USER, GOOD], "rejected": [USER, BAD]}, BRIEF),
        ({"system": "", "prompt": "Name a fish.", "chosen": "Trout.", "rejected": "Whale."},
         PROMPT),
    ],
)  # fmt: skip
def test_every_format_gives_the_same_pair(
    row: dict[str, object], prompt: tuple[Message, ...]
) -> None:
    fields = PairFields(prompt="instruction" if "instruction" in row else "prompt")
    (made,) = read(row, fields=fields).kept
    assert made == OfflinePair(prompt, "Trout.", "Whale.", None, None, "line 1")


def test_a_prompt_of_many_turns() -> None:
    said = "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Name a fish.\n\nAssistant: "
    made = pair({"chosen": f"{said}Trout.", "rejected": f"{said}Whale."})
    assert [turn.role for turn in made.prompt] == ["user", "assistant", "user"]
    assert (made.chosen, made.rejected) == ("Trout.", "Whale.")
    talk = [USER, GOOD, USER]
    assert len(pair({"chosen": [*talk, GOOD], "rejected": [*talk, BAD]}).prompt) == 3
    assert len(pair({"prompt": talk, "chosen": "a", "rejected": "b"}).prompt) == 3


def test_answers_of_many_turns_stand_behind_their_prompt() -> None:
    turns = [{"role": "assistant", "content": "Which sea?"}, {"role": "user", "content": "Any."}]
    made = pair({"prompt": [SYSTEM, USER], "chosen": [*turns, GOOD], "rejected": [*turns, BAD]})
    asked = (*BRIEF, Message("assistant", "Which sea?"), Message("user", "Any."))
    assert (made.prompt, made.chosen, made.rejected) == (asked, "Trout.", "Whale.")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tools", [{"type": "function", "function": {"name": "sonar"}}]),
        ("tools", '[{"type": "function"}]'),
        ("images", ["fish.png"]),
        ("chat_template_kwargs", {"enable_thinking": False}),
    ],
)
def test_a_prompt_that_is_more_than_its_texts_is_refused(field: str, value: object) -> None:
    row: dict[str, object] = {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]}
    assert f"line 1: {field}=" in refusal(row | {field: value})
    assert "only texts are read" in refusal(row | {field: value})
    absent: tuple[object, ...] = (None, "", "[]", [], {})
    for nothing in absent:
        assert pair(row | {field: nothing}) == pair(row)
    calling = {**GOOD, "tool_calls": [{"function": {"name": "sonar"}}]}
    assert "chosen, turn 1 calls tools" in refusal(row | {"chosen": [calling]})
    assert pair(row | {"chosen": [{**GOOD, "tool_calls": None}]}) == pair(row)


def test_an_input_beside_another_question_is_not_alpacas() -> None:
    row = {"prompt": "Name a fish.", "input": "id 7", "chosen": "Trout.", "rejected": "Whale."}
    assert pair(row).prompt == PROMPT


def test_an_input_is_read_of_every_kind_of_file(tmp_path: Path) -> None:
    file = tmp_path / "pairs.parquet"
    row = {"instruction": "Name", "input": "a fish.", "chosen": "a", "rejected": "b"}
    pq.write_table(pa.Table.from_pylist([row]), file)
    fields = PairFields(prompt="instruction")
    rows = read_source(RowSource(path=str(file), key="preferences.path"), fields.columns)
    (made,) = read_pairs(rows, fields, key="k").kept
    assert made.prompt == (Message("user", "Name\n\na fish."),)


@pytest.mark.parametrize("field", ["prompt", "chosen", "rejected"])
def test_turns_that_a_table_of_texts_keeps_are_refused_by_row(field: str) -> None:
    row: dict[str, object] = {"prompt": "Name a fish.", "chosen": "Trout.", "rejected": "Whale."}
    said = refusal(row, row | {field: str([USER, GOOD])})
    assert said.startswith(f"preferences.path=FILE: line 2: {field}=\"[{{'role': 'user'")
    assert "is a list of turns that was written down as a text" in said


def test_prompts_in_a_template_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    row: dict[str, object] = {"prompt": "Name a fish.", "chosen": "Trout.", "rejected": "Whale."}
    read(row, row | {"prompt": "<|im_start|>user\nName a fish.<|im_end|>"})
    assert "preferences.path=FILE: 1 of 2 prompts are written in a chat template" in caplog.text


def test_fields_that_would_change_a_prompt_are_read_of_every_kind_of_file(tmp_path: Path) -> None:
    file = tmp_path / "pairs.parquet"
    row = {"prompt": "p", "chosen": "a", "rejected": "b", "tools": '[{"name": "sonar"}]'}
    pq.write_table(pa.Table.from_pylist([row]), file)
    rows = read_source(RowSource(path=str(file), key="preferences.path"), PairFields().columns)
    with pytest.raises(UserError, match="row 1: tools="):
        read_pairs(rows, key="preferences.path=FILE")


def test_scores_are_read_where_they_are() -> None:
    row = {"prompt": "p", "chosen": "a", "rejected": "b"}
    assert pair(row | {"score_chosen": 8.5, "score_rejected": 7}).chosen_score == 8.5
    assert pair(row | {"score_chosen": "8.5", "score_rejected": "7"}).rejected_score == 7.0
    assert pair(row | {"score_chosen": None, "score_rejected": 7}).chosen_score is None
    fields = PairFields(chosen_score="rating")
    assert read(row | {"rating": 3}, fields=fields).kept[0].chosen_score == 3.0


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"chosen": [USER, GOOD], "rejected": [{**USER, "content": "?"}, BAD]},
         PairDrop.DIFFERENT_PROMPTS),
        ({"chosen": "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: d",
          "rejected": "\n\nHuman: a\n\nAssistant: e\n\nHuman: f\n\nAssistant: g"},
         PairDrop.DIFFERENT_PROMPTS),
        ({"chosen": "\n\nHuman: a\n\nAssistant: b\n\nHuman: c",
          "rejected": "\n\nHuman: a\n\nAssistant: b\n\nHuman: d"}, PairDrop.NO_QUESTION),
        ({"prompt": [SYSTEM], "chosen": [GOOD], "rejected": [BAD]}, PairDrop.NO_QUESTION),
        ({"prompt": " \n", "chosen": "a", "rejected": "b"}, PairDrop.EMPTY),
        ({"prompt": "p", "chosen": "a", "rejected": " "}, PairDrop.EMPTY),
        ({"prompt": "p", "chosen": "a  b", "rejected": "a\nb "}, PairDrop.IDENTICAL),
        ({"prompt": "p", "chosen": "a", "rejected": "b", "score_chosen": 1, "score_rejected": 2},
         PairDrop.CONTRADICTED),
        ({"prompt": "p", "chosen": "a", "rejected": "b", "score_chosen": 2, "score_rejected": 2},
         None),
    ],
)  # fmt: skip
def test_what_is_dropped_and_why(row: dict[str, object], reason: PairDrop | None) -> None:
    made = read(row)
    assert [name for name, count in made.dropped.items() if count] == [reason] * bool(reason)


def test_a_margin_drops_close_scores_only() -> None:
    row: dict[str, object] = {"prompt": "p", "chosen": "a", "rejected": "b"}
    rows = [row | {"score_chosen": score, "score_rejected": 2} for score in (2, 2.5, 3, 4)]
    made = read(*rows, row, min_margin=1.0)
    assert [item.chosen_score for item in made.kept] == [3, 4, None]
    assert made.dropped[PairDrop.MARGIN] == 2


def test_every_broken_row_is_named_with_its_value() -> None:
    said = refusal(
        {"prompt": "p", "chosen": "a", "rejected": "b"},
        {"prompt": "p", "chosen": "a"},
        {"prompt": "p", "chosen": None, "rejected": "b"},
        {"prompt": 7, "chosen": "a", "rejected": "b"},
        {"chosen": "no speaker", "rejected": "b"},
        {"prompt": "p", "chosen": "a", "rejected": "b", "score_chosen": "high"},
        {"prompt": "p", "chosen": [], "rejected": "b"},
    )
    assert said.startswith("preferences.path=FILE: 6 of 7 rows are broken: ")
    for part in [
        'line 2 has no field "rejected" (it has: prompt, chosen)',
        "line 3: chosen=null is null, not a text or list of turns",
        "line 4: prompt=7 is a number, not a list of turns",
        'line 5: chosen="no speaker" is no transcript of "Human:" and "Assistant:", and no field',
        'line 6: score_chosen="high" is no finite number',
        "; and 1 more",
    ]:
        assert part in said


@pytest.mark.parametrize("missing", [None, float("nan"), "", " ", "nan"])
def test_a_missing_score_is_the_same_in_every_format(missing: object) -> None:
    row = {"prompt": "p", "chosen": "a", "rejected": "b", "score_rejected": 7}
    made = pair(row | {"score_chosen": missing})
    assert (made.chosen_score, made.rejected_score) == (None, 7.0)


@pytest.mark.parametrize("score", [True, float("inf"), "inf", 10**400, "high", [1]])
def test_a_score_is_a_finite_number(score: object) -> None:
    row = {"prompt": "p", "chosen": "a", "rejected": "b", "score_rejected": score}
    assert "score_rejected=" in refusal(row)


def test_ultrafeedback_binarized_as_parquet(tmp_path: Path) -> None:
    rows = [
        {
            "prompt": f"Name {n} fish.", "prompt_id": f"{n:064x}",
            "chosen": [{"content": f"Name {n} fish.", "role": "user"},
                       {"content": "Trout.", "role": "assistant"}],
            "rejected": [{"content": f"Name {n} fish.", "role": "user"},
                         {"content": "Whale.", "role": "assistant"}],
            "messages": [{"content": f"Name {n} fish.", "role": "user"},
                         {"content": "Trout.", "role": "assistant"}],
            "score_chosen": 8.5, "score_rejected": 8.5 - n,
        }
        for n in range(3)
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "train_prefs.parquet")
    source = RowSource(path=str(tmp_path / "train_prefs.parquet"), key="preferences.path")
    made = read_pairs(read_source(source, PairFields().columns), key=source.said, min_margin=0.5)
    assert [(p.prompt, p.chosen_score, p.rejected_score) for p in made.kept] == [
        ((Message("user", "Name 1 fish."),), 8.5, 7.5),
        ((Message("user", "Name 2 fish."),), 8.5, 6.5),
    ]


def test_hh_rlhf_as_lines(tmp_path: Path) -> None:
    talk = "\n\nHuman: Name a fish.\n\nAssistant: "
    rows = [{"chosen": f"{talk}Trout.", "rejected": f"{talk}Whale."}]
    file = tmp_path / "train.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = RowSource(path=str(file), key="preferences.path")
    (made,) = read_pairs(read_source(source, PairFields().columns), key=source.said).kept
    assert made == OfflinePair(PROMPT, "Trout.", "Whale.", None, None, "line 1")
