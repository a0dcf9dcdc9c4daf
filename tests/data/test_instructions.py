"""Instruction data in every format, and OpenAssistant's trees."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from iterdpo.conversation import Message
from iterdpo.data.instructions import (
    INSTRUCTION_COLUMNS,
    Demonstration,
    RankedAnswers,
    best_answers,
    read_demonstrations,
    read_oasst,
    read_ranked,
)
from iterdpo.data.rows import Row
from iterdpo.data.source import RowSource, read_source
from iterdpo.errors import UserError

ASKED = (Message("user", "Name a fish."),)
SYSTEM = Message("system", "Be brief.")


def rows(*fields: Mapping[str, object]) -> list[Row]:
    return [Row(f"line {n}", item) for n, item in enumerate(fields, start=1)]


def shown(fields: Mapping[str, object], **settings: Any) -> Demonstration:
    (one,) = read_demonstrations(rows(fields), key="k", **settings)
    return one


@pytest.mark.parametrize(
    ("fields", "prompt"),
    [
        ({"instruction": "Name a fish.", "input": "", "output": "Trout."}, ASKED),
        ({"instruction": "Name a fish.", "output": "Trout."}, ASKED),
        ({"instruction": "Name", "input": "a fish.", "output": "Trout."},
         (Message("user", "Name\n\na fish."),)),
        ({"prompt": "Name a fish.", "response": "Trout."}, ASKED),
        ({"prompt": "Name a fish.", "completion": "Trout."}, ASKED),
        ({"prompt": [{"role": "user", "content": "Name a fish."}],
          "completion": [{"role": "assistant", "content": "Trout."}]}, ASKED),
        ({"system": "Be brief.", "question": "Name a fish.", "answer": "Trout."},
         (SYSTEM, *ASKED)),
        ({"conversations": ["Name a fish.", "Trout."]}, ASKED),
        ({"messages": [{"role": "system", "content": "Be brief."},
                       {"role": "user", "content": "Name a fish."},
                       {"role": "assistant", "content": "Trout."}], "prompt": "ignored"},
         (SYSTEM, *ASKED)),
    ],
)  # fmt: skip
def test_every_format(fields: dict[str, object], prompt: tuple[Message, ...]) -> None:
    assert shown(fields) == Demonstration(prompt, "Trout.", "line 1")


def test_a_conversation_teaches_its_last_or_its_first_answer() -> None:
    talk = {"conversations": ["Hi", "Hello", "Name a fish.", "Trout.", "Thanks"]}
    assert shown(talk).response == "Trout."
    assert len(shown(talk).prompt) == 3
    first = shown(talk, turn="first")
    assert (first.prompt, first.response) == ((Message("user", "Hi"),), "Hello")


def test_broken_rows_are_named() -> None:
    with pytest.raises(UserError) as error:
        read_demonstrations(
            rows(
                {"instruction": "a"},
                {"output": "a"},
                {"prompt": "a", "response": " "},
                {"prompt": "", "response": "a"},
                {"messages": [{"role": "user", "content": "a"}]},
                {"prompt": "a", "response": "fine"},
            ),
            key="instructions.path=FILE",
        )
    said = str(error.value)
    for part in [
        "instructions.path=FILE: 5 of 6 rows are broken: ",
        "line 1 has none of output, response, completion, answer (it has: instruction)",
        "line 2 has none of instruction, prompt, question, query (it has: output)",
        "line 3: response is empty",
        "line 4: the user's turn is empty",
        "line 5: messages has no turn of the assistant",
    ]:
        assert part in said


def test_a_chat_that_is_more_than_its_texts_is_refused() -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    calling = [turns[0], {**turns[1], "tool_calls": [{"function": {"name": "sonar"}}]}]
    refused: tuple[tuple[dict[str, object], str], ...] = (
        ({"messages": turns, "tools": [{"name": "sonar"}]}, "line 1: tools="),
        ({"messages": calling}, "line 1: messages, turn 2 calls tools"),
    )
    for broken, said in refused:
        with pytest.raises(UserError, match=said):
            read_demonstrations(rows(broken), key="k")
    assert read_demonstrations(rows({"messages": turns, "tools": []}), key="k")


def test_fields_that_would_change_a_chat_are_read_of_every_kind_of_file(tmp_path: Path) -> None:
    file = tmp_path / "chats.parquet"
    row = {"prompt": "a", "completion": "b", "tools": '[{"name": "sonar"}]'}
    pq.write_table(pa.Table.from_pylist([row]), file)
    found = read_source(RowSource(path=str(file), key="sft.path"), INSTRUCTION_COLUMNS)
    with pytest.raises(UserError, match="row 1: tools="):
        read_demonstrations(found, key="k")


def message(
    name: str, parent: str | None, text: str, rank: object = None, **more: object
) -> dict[str, object]:
    role = "prompter" if parent is None or parent.startswith("a") else "assistant"
    kept = {"lang": "en", "deleted": False, "role": role} | more
    return {"message_id": name, "parent_id": parent, "text": text, "rank": rank, **kept}


def test_oasst_trees_become_ranked_answers() -> None:
    found = read_oasst(
        rows(
            message("a2", "q1", "second", 1),
            message("q1", None, "Name a fish."),
            message("a1", "q1", "first", 0.0),
            message("a3", "q1", "gone", 2, deleted=True),
            message("a4", "q1", "not ranked", float("nan")),
            message("f1", "a1", "and a bird?"),
            message("q2", None, "Nenne einen Fisch.", lang="de"),
            message("b1", "q2", "Forelle."),
            message("q3", None, "One answer only."),
            message("c1", "q3", "single"),
            message("q4", None, "No answer."),
            message("q5", None, "Two without a rank."),
            message("d1", "q5", "x"),
            message("d2", "q5", "y"),
        ),
        key="k",
    )
    assert found == [
        RankedAnswers("Name a fish.", ("first", "second"), "line 2"),
        RankedAnswers("One answer only.", ("single",), "line 9"),
    ]
    assert best_answers(found)[0] == Demonstration(ASKED, "first", "line 2")


def test_oasst_in_all_languages_and_broken() -> None:
    tree = rows(message("q", None, "Was?", lang="de"), message("x", "q", "Das."))
    assert len(read_oasst(tree, key="k", language=None)) == 1
    with pytest.raises(UserError, match=r'line 1: role="user" is neither prompter nor assistant'):
        read_oasst(rows(message("q", None, "a", role="user")), key="k")


@pytest.mark.parametrize("rank", [float("inf"), 10**400, True, "first"])
def test_a_rank_is_a_number(rank: object) -> None:
    with pytest.raises(UserError, match=r"line 1: rank=.* is no finite number"):
        read_oasst(rows(message("q", None, "Ask?", rank)), key="k")


def test_rankings_of_ones_own() -> None:
    given = rows({"prompt": "Name a fish.", "responses": ["Trout.", "Whale."]})
    assert read_ranked(given, key="k") == [
        RankedAnswers("Name a fish.", ("Trout.", "Whale."), "line 1")
    ]
    refused: tuple[dict[str, object], ...] = (
                   {"prompt": "a", "responses": "b"}, {"prompt": "a", "responses": []},
                   {"prompt": "a", "responses": ["b", ""]}, {"prompt": "a"},
    )  # fmt: skip
    for broken in refused:
        with pytest.raises(UserError, match="line 1"):
            read_ranked(rows(broken), key="k")


def test_turns_that_a_table_of_texts_keeps_are_refused_and_templates_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked = "<|im_start|>user\nName a fish.<|im_end|>"
    read_demonstrations(rows({"prompt": asked, "completion": "Trout."}), key="sft.path=FILE")
    assert "sft.path=FILE: 1 of 1 prompts are written in a chat template" in caplog.text
    row = {"prompt": "Name a fish.", "completion": "Trout."}
    for field in row:
        spelled = str([{"role": "user", "content": "Trout."}])
        with pytest.raises(UserError, match=rf"line 1: {field}=.* is a list of turns"):
            read_demonstrations(rows(row | {field: spelled}), key="k")
