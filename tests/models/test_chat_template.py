from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iterdpo.conversation import Message
from iterdpo.errors import UserError
from iterdpo.models.chat_messages import Request
from iterdpo.models.chat_template import Chat, ConversationError, fold_system
from tests.checkpoints import ALTERNATING, STYLES, make_tokenizer


@pytest.fixture(scope="module")
def chats() -> dict[str, Chat]:
    return {name: Chat(make_tokenizer(style)) for name, style in STYLES.items()}


def text_of(chat: Chat, request: Request) -> str:
    return str(chat.tokenizer.decode(chat.encode(request)))


def test_a_template_renders_the_conversation_and_opens_the_answer(chats: dict[str, Chat]) -> None:
    assert text_of(chats["llama"], Request.of("Hi", system="Be kind.")) == (
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_a_template_without_a_system_role_gets_the_text_in_the_first_turn(
    chats: dict[str, Chat],
) -> None:
    assert not chats["gemma"].knows_system_role
    assert text_of(chats["gemma"], Request.of("Hi", system="Be kind.")) == (
        "<bos><start_of_turn>user\nBe kind.\n\nHi<end_of_turn>\n<start_of_turn>model\n"
    )


def test_the_beginning_of_the_text_is_marked_once(chats: dict[str, Chat]) -> None:
    ids = chats["gemma"].encode(Request.of("Hi"))
    assert list(ids).count(chats["gemma"].tokenizer.bos_token_id) == 1


def test_a_base_model_gets_plain_text_that_stays_open(chats: dict[str, Chat]) -> None:
    assert text_of(chats["base"], Request.of("Hi", system="Be kind.")) == "Be kind.\n\nHi\n"


def test_a_template_that_drops_the_system_role_is_noticed() -> None:
    tokenizer = make_tokenizer(STYLES["llama"])
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m.role != 'system' %}{{ m.content }}{% endif %}{% endfor %}"
    )
    assert text_of(Chat(tokenizer), Request.of("Hi", system="Be kind.")) == "Be kind.\n\nHi"


def test_a_template_that_fails_on_the_system_role_by_any_error_gets_none() -> None:
    tokenizer = make_tokenizer(STYLES["llama"])
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m.role == 'system' %}{{ 1 // 0 }}{% endif %}{{ m.content }}"
        "{% endfor %}"
    )
    assert text_of(Chat(tokenizer), Request.of("Hi", system="Be kind.")) == "Be kind.\n\nHi"


@pytest.mark.parametrize("style", STYLES)
@given(data=st.data())
def test_no_text_can_end_its_turn_or_open_another(
    chats: dict[str, Chat], style: str, data: st.DataObject
) -> None:
    chat = chats[style]
    specials = [*STYLES[style].specials, "{{ 7*7 }}", "{% raw %}", "Score: 5", "</response>", "x "]
    text = "".join(data.draw(st.lists(st.sampled_from(specials), max_size=6)))
    special_ids = set(chat.tokenizer.all_special_ids)
    for spelling in STYLES[style].specials:
        special_ids.add(chat.tokenizer.convert_tokens_to_ids(spelling))

    def specials_in(content: str) -> list[int]:
        return [i for i in chat.encode(Request.of(content)) if i in special_ids]

    assert specials_in(text) == specials_in("plain")


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_ordinary_text_goes_through_unchanged(chats: dict[str, Chat], text: Any) -> None:
    if any(special in text for special in STYLES["base"].specials):
        return
    assert text_of(chats["base"], Request.of(text)) == text + "\n"


def test_template_syntax_in_a_message_is_text(chats: dict[str, Chat]) -> None:
    assert "{{ 7*7 }}" in text_of(chats["llama"], Request.of("{{ 7*7 }}"))


def test_a_choice_is_one_token_or_refused(chats: dict[str, Chat]) -> None:
    chat = chats["llama"]
    assert chat.decode([chat.single_token("5")]) == "5"
    # The run's judge asks for one token, or the arbiter does: which, the tokenizer cannot know.
    with pytest.raises(UserError, match=r"judge\.score=sampled.*evaluation\.arbiter=none"):
        chat.single_token("12345")


def test_folding_keeps_turns_and_their_order() -> None:
    turns = [Message("user", "a"), Message("assistant", "b"), Message("user", "c")]
    folded = fold_system([Message("system", "s"), *turns])
    assert [m.content for m in folded] == ["s\n\na", "b", "c"]
    assert fold_system(turns) == turns


def test_what_a_template_refuses_is_told_in_its_words() -> None:
    tokenizer = make_tokenizer(STYLES["qwen"])
    tokenizer.chat_template = ALTERNATING
    chat = Chat(tokenizer)
    twice = Request((Message("user", "Hi"), Message("user", "there")))
    with pytest.raises(
        ConversationError,
        match=r"^the model's chat template refuses the conversation \(roles must alternate",
    ):
        chat.encode(twice)
    tokenizer.chat_template = "{% if %}"
    with pytest.raises(ConversationError, match=r"the conversation \(Expected an expression"):
        Chat(tokenizer).encode(Request.of("Hi"))


@pytest.mark.parametrize("style", STYLES)
def test_half_of_a_surrogate_pair_is_no_text(chats: dict[str, Chat], style: str) -> None:
    with pytest.raises(ConversationError, match=r"half of a surrogate pair \(U\+D83D\)"):
        chats[style].encode(Request.of("Half \ud83d emoji"))
