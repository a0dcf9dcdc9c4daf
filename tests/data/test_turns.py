"""Conversations in every form that datasets keep them in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iterdpo.conversation import Message
from iterdpo.data.turns import first_user_text, is_transcript, messages_of, transcript_messages
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
        ([{"role": "user", "content": "\ud83d"}], "half of a surrogate pair (U+D83D)"),
    ],
)
def test_broken_turns(value: object, said: str) -> None:
    with pytest.raises(RowError) as error:
        messages_of(value, "messages")
    assert said in str(error.value)


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
