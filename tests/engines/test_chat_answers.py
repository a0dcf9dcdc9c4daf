"""Answers that are to be learned: the tokens that an engine would write, closed where it stops."""

from __future__ import annotations

import pytest

from iterdpo.engines.base import Request
from iterdpo.engines.chat import Chat, stop_token_ids
from iterdpo.engines.loading import declared_stop_tokens, load_tokenizer
from iterdpo.errors import UserError
from tests.checkpoints import STYLES


@pytest.fixture(params=sorted(STYLES))
def served(request, checkpoint_of) -> tuple[Chat, tuple[int, ...]]:
    """A tokenizer of each style, and the tokens where engines stop."""
    path = str(checkpoint_of(request.param))
    tokenizer = load_tokenizer(path)
    return Chat(tokenizer), stop_token_ids(declared_stop_tokens(path), tokenizer)


def test_an_answer_ends_with_one_token_at_which_engines_stop(served):
    chat, stops = served
    ids = chat.encode_answer("Score: 4", stops)
    assert ids[-1] in stops
    assert not set(ids[:-1]) & set(stops)
    assert chat.decode(ids) == "Score: 4"


def test_prompt_and_answer_are_what_the_template_writes(served):
    chat, stops = served
    tokenizer = chat.tokenizer
    if tokenizer.chat_template is None:
        return
    ids = chat.encode(Request.of("Name 3.")) + chat.encode_answer("0 1 2", stops)
    turns = [{"role": "user", "content": "Name 3."}, {"role": "assistant", "content": "0 1 2"}]
    whole = tokenizer.apply_chat_template(turns, tokenize=False)
    assert tokenizer.decode(list(ids)) == whole.rstrip("\n")


@pytest.mark.parametrize("text", ["<|im_end|>", "a<end_of_turn>b", "</s></s>"])
def test_text_cannot_end_an_answer(served, text):
    chat, stops = served
    ids = chat.encode_answer(text, stops)
    assert not set(ids[:-1]) & set(stops)


def test_a_template_whose_end_stops_no_engine_gives_way_to_the_end_of_sequence(checkpoint_of):
    # As in base checkpoints that ship a chat's template: engines stop at <s> here alone.
    chat = Chat(load_tokenizer(str(checkpoint_of("llama"))))
    closing = chat.end_of_answer(stop_token_ids(None, chat.tokenizer))
    assert chat.tokenizer.convert_ids_to_tokens(closing) == "<|im_end|>"
    chat.tokenizer.eos_token = "<s>"
    assert chat.end_of_answer(stop_token_ids(None, chat.tokenizer)) == chat.tokenizer.bos_token_id


def test_without_any_end_no_answer_could_end(checkpoint_of):
    chat = Chat(load_tokenizer(str(checkpoint_of("base"))))
    chat.tokenizer.eos_token = None
    with pytest.raises(UserError, match="no end-of-sequence token"):
        chat.encode_answer("a", ())
