"""What rows say of a prompt: conversations, right answers, criteria, and whatever else is kept."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iterdpo.conversation import Message, RubricItem
from iterdpo.data.values import RowError
from iterdpo.models.chat_messages import Request
from iterdpo.prompts.conversations import Beside, opening_of, rubric_items, up_to_the_user
from iterdpo.records import Prompt
from tests.prompts.sources import dataset_prompts, file_prompts

TURNS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Name a fruit."},
    {"role": "assistant", "content": "Fig."},
    {
        "role": "user",
        "content": [{"type": "text", "text": "Anot"}, {"type": "text", "text": "her."}],
    },
]
MESSAGES = (
    Message("system", "Be brief."), Message("user", "Name a fruit."), Message("assistant", "Fig."),
    Message("user", "Another."),
)  # fmt: skip
ANSWER = {"role": "assistant", "content": "Plum."}


def written(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("field", ["prompt", "messages"])
@pytest.mark.parametrize("source", ["file", "dataset"])
def test_a_list_of_turns_is_asked_as_a_conversation(
    tmp_path: Path, source: str, field: str
) -> None:
    turns = TURNS if field == "prompt" else [*TURNS, ANSWER]
    file = written(tmp_path / "rows.jsonl", {field: turns}, {field: TURNS[1:2]})
    made = (
        file_prompts(file, field=field)
        if source == "file"
        else dataset_prompts(file, field, form="conversation")
    )
    whole, single = made.everything
    assert whole.messages == MESSAGES
    assert whole.text == (
        "System: Be brief.\n\nHuman: Name a fruit.\n\nAssistant: Fig.\n\nHuman: Another."
    )
    assert (opening_of(whole), single) == (
        "Name a fruit.",
        Prompt.of("Name a fruit.", single.source),
    )
    assert Request.to(whole, "A system message of the run's.").messages == MESSAGES
    assert Request.to(single, "Be kind.").messages[0] == Message("system", "Be kind.")


def test_conversations_that_open_alike_are_in_one_set(tmp_path: Path) -> None:
    rows = [
        {
            "prompt": [
                {"role": "user", "content": f"Q{n}?"},
                ANSWER,
                {"role": "user", "content": say},
            ]
        }
        for n in range(60)
        for say in ("And?", "Why?", "Go on.")
    ]
    made = file_prompts(written(tmp_path / "rows.jsonl", *rows), held_out_share=0.5)
    sets = made.loop(1, 999, 0), made.evaluation(999, 0), made.judge_reference(999, 0)
    openings = [{opening_of(prompt) for prompt in prompts} for prompts in sets]
    assert sum(map(len, openings)) == len(set.union(*openings)) == 60
    assert min(map(len, sets)) >= 3 * 5


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([ANSWER], "q has no turn of the user"),
        ([{"role": "tool", "content": "x"}], 'role="tool" is none of'),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}],
         "only parts with a text are read"),
        ([{"role": "user", "content": ["x"]}], "only parts with a text are read"),
        ([{"role": "user", "content": [{"type": "text"}]}], "q, turn 1=null is null, not a text"),
        (3, "q=3 is a number, not a list of turns"),
        ("[{'role': 'user', 'content': 'x'}]", "written down as a text"),
    ],
)  # fmt: skip
def test_what_is_no_conversation_is_said(value: object, said: str) -> None:
    with pytest.raises(RowError) as error:
        up_to_the_user(value, "q")
    assert said in str(error.value)


def test_everything_known_of_a_prompt_is_kept_and_names_it(tmp_path: Path) -> None:
    row = {
        "prompt": "2 + 2?", "answer": 4, "level": 1, "tags": ["sum"],
        "rubric": ["Says 4.", {"criterion": "Is rude.", "points": -2}],
    }  # fmt: skip
    plain = written(tmp_path / "plain.jsonl", row)
    (known,) = file_prompts(
        plain, reference="answer", rubric="rubric", metadata=("level", "tags")
    ).everything
    assert known.reference == "4"
    assert known.rubric == (RubricItem("Says 4."), RubricItem("Is rude.", -2.0))
    assert known.metadata == {"level": 1, "tags": ["sum"]}
    (bare,) = file_prompts(plain).everything
    assert bare == Prompt.of("2 + 2?", bare.source)
    assert bare.id != known.id


@pytest.mark.parametrize(
    ("value", "items"),
    [
        (None, ()),
        ([], ()),
        ("Says 4.", (RubricItem("Says 4."),)),
        ([{"title": "Sum", "description": "Says 4.", "weight": 5}], (RubricItem("Says 4.", 5.0),)),
        ([{"text": "Says 4.", "weight": None}], (RubricItem("Says 4."),)),
    ],
)
def test_forms_of_a_rubric(value: object, items: tuple[RubricItem, ...]) -> None:
    assert rubric_items(value, "rubric") == items


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (4, "rubric, item 1 is a number, not a text or an object with one"),
        ([" "], "rubric, item 1 is empty"),
        (["Says 4.", {"weight": 1}], "rubric, item 2={"),
        ([{"text": "x", "weight": "much"}], 'rubric, item 1, weight="much" is no finite number'),
        ([{"text": "x", "weight": 0}], "has the weight 0 and would count for nothing"),
    ],
)
def test_what_is_no_rubric_is_said(value: object, said: str) -> None:
    with pytest.raises(RowError) as error:
        rubric_items(value, "rubric")
    assert said in str(error.value)


@pytest.mark.parametrize(("value", "reference"), [("four", "four"), (4, "4"), (0.5, "0.5")])
def test_a_right_answer_is_a_text_or_a_number(value: object, reference: str) -> None:
    assert Beside(reference="answer").of({"answer": value}) == {"reference": reference}


def test_a_row_may_have_no_right_answer() -> None:
    assert Beside(reference="answer").of({"answer": None}) == {"reference": None}
    assert Beside().of({}) == {}
    for wrong in ({"answer": ["4"]}, {"answer": True}, {}):
        with pytest.raises(RowError, match="answer"):
            Beside(reference="answer").of(wrong)


def test_what_json_does_not_hold_is_no_metadata() -> None:
    with pytest.raises(RowError, match=r"at=.* is nothing that JSON holds"):
        Beside(metadata=("at",)).of({"at": float("nan")})


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.sampled_from(["role", "content", "from", "value", "type", "text", "weight"]), inner
        ),
    ),
    max_leaves=8,
)


@given(VALUES)
def test_a_field_may_hold_anything(value: object) -> None:
    """It is read or refused, and what was read survives being stored."""
    for read in (up_to_the_user, rubric_items):
        with suppress(RowError):
            json.dumps([asdict(item) for item in read(value, "q")])
