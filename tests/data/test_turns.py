"""Conversations in every form that datasets keep them in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iterdpo.conversation import Message
from iterdpo.data.turns import (
    bare_text,
    first_user_text,
    is_transcript,
    messages_of,
    transcript_messages,
    warn_of_templates,
)
from iterdpo.data.values import RowError

TALK = (Message("user", "Hi"), Message("assistant", "Hello"), Message("user", "Why?"))


@pytest.mark.parametrize(
    "value",
    [
        [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"},
         {"role": "User", "content": "Why?"}],
        [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"},
         {"from": "human", "value": "Why?"}],
        ["Hi", "Hello", "Why?"],
    ],
)  # fmt: skip
def test_forms_of_a_list(value: object) -> None:
    assert messages_of(value, "messages") == TALK


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("Hi", 'messages="Hi" is a text, not a list of turns'),
        (None, "messages=null is null, not a list"),
        ([], "messages is an empty list of turns"),
        ([{"role": "user", "content": "a"}, 3], "messages, turn 2 is a number, not an object"),
        ([{"role": "critic", "content": "a"}], 'messages, turn 1: role="critic" is none of system'),
        ([{"content": "a"}], "messages, turn 1: role=null is none of"),
        ([{"role": "user"}], "messages, turn 1=null is null, not a text"),
        ([{"role": "assistant", "content": "a", "reasoning_content": "hm"}],
         "messages, turn 1 holds reasoning_content, which is not read: write it into the content"),
        ([{"from": "gpt", "value": "a", "thinking": "hm"}], "messages, turn 1 holds thinking"),
        ([{"role": "user", "content": "\ud83d"}], "half of a surrogate pair (U+D83D)"),
    ],
)  # fmt: skip
def test_broken_turns(value: object, said: str) -> None:
    with pytest.raises(RowError) as error:
        messages_of(value, "messages")
    assert said in str(error.value)


def test_a_turn_without_a_thought_is_read_whatever_its_fields() -> None:
    turn = {"role": "user", "content": "Hi", "reasoning_content": None, "thinking": ""}
    assert messages_of([turn], "messages") == TALK[:1]


@pytest.mark.parametrize("quote", ["'", '"'])
@pytest.mark.parametrize("between", [", ", "\n "])  # as Python and as numpy write lists
def test_a_list_of_turns_that_was_written_down_as_a_text_is_none(quote: str, between: str) -> None:
    turns = [{"content": "Hi", "role": "user"}, {"role": "assistant", "content": "Hello"}]
    spelled = f"[{between.join(map(repr, turns))}]".replace("'", quote)
    with pytest.raises(RowError, match=r"^chosen=.* is a list of turns that was written down"):
        bare_text(spelled, "chosen")


@pytest.mark.parametrize(
    "text", ["[{'role': 'user'}] is JSON?", "[1, 2]", "[{}]", '{"role": "user"}', "[role]"]
)
def test_a_text_that_shows_code_is_a_text(text: str) -> None:
    assert bare_text(text, "chosen") == text


@pytest.mark.parametrize(
    "text",
    [
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
        "<s><|im_start|>user\nHi",
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi",
        "<bos><start_of_turn>user\nHi",
        "<s>[INST] Hi [/INST]",
        "<｜begin▁of▁sentence｜><｜User｜>Hi",
    ],
)
def test_conversations_in_a_template_are_counted(
    text: str, caplog: pytest.LogCaptureFixture
) -> None:
    warn_of_templates([text, "Hi", "<div>Hi</div>", "What is <|im_start|>?"], "prompts.path=FILE")
    (said,) = caplog.messages
    assert said.startswith("prompts.path=FILE: 1 of 4 prompts are written in a chat template, such")
    caplog.clear()
    warn_of_templates(["Hi", "<s>", "[INSTALL]"], "prompts.path=FILE")
    assert not caplog.messages


def test_a_transcript() -> None:
    text = "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Why?"
    assert transcript_messages(text, "chosen") == TALK
    assert transcript_messages(text[2:], "chosen") == TALK


def test_one_speaker_twice_and_a_colon_inside() -> None:
    text = "\n\nHuman: a\nHuman: b\n\nHuman: c\n\nAssistant: So:\n\nAssistants: many"
    assert transcript_messages(text, "chosen") == (
        Message("user", "a\nHuman: b\n\nc"),
        Message("assistant", "So:\n\nAssistants: many"),
    )


def test_a_text_that_is_no_transcript() -> None:
    assert not is_transcript("I said\n\nHuman: what")
    with pytest.raises(RowError, match='does not begin with "Human:"'):
        transcript_messages("I said\n\nHuman: what", "chosen")


def test_the_first_turn_of_the_user() -> None:
    assert first_user_text((Message("system", "Be brief."), *TALK), "messages") == "Hi"
    with pytest.raises(RowError, match="no turn of the user"):
        first_user_text(TALK[1:2], "messages")


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])).map(str.strip), min_size=1))
def test_a_transcript_gives_back_what_was_put_in(said: list[str]) -> None:
    said = [text.replace("Human:", "").replace("Assistant:", "").strip() for text in said]
    speakers = ["Human", "Assistant"] * len(said)
    text = "".join(f"\n\n{who}: {what}" for who, what in zip(speakers, said, strict=False))
    assert [turn.content for turn in transcript_messages(text, "chosen")] == said
