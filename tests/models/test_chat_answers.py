"""Answers that are to be learned: the tokens that an engine would write, closed where it stops."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from iterdpo.errors import UserError
from iterdpo.models.chat_messages import Request
from iterdpo.models.chat_template import Chat, ConversationError, stop_token_ids
from iterdpo.models.loading import declared_stop_tokens, load_tokenizer
from tests.checkpoints import (
    BOTH_THOUGHTS,
    CHATML,
    EMPTY_THOUGHT,
    NO_SYSTEM,
    OPEN_THOUGHT,
    STYLES,
    make_tokenizer,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from tests.checkpoints import CheckpointOf

ZEPHYR = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
LLAMA_2 = (
    "{% for m in messages %}{% if m.role == 'user' %}<s>[INST] {{ m.content }} [/INST]{% else %} "
    "{{ m.content }} </s>{% endif %}{% endfor %}"
)


@pytest.fixture(params=sorted(STYLES))
def served(
    request: pytest.FixtureRequest, checkpoint_of: CheckpointOf
) -> tuple[Chat, tuple[int, ...]]:
    """A tokenizer of each style, and the tokens where engines stop."""
    path = str(checkpoint_of(request.param))
    tokenizer = load_tokenizer(path)
    return Chat(tokenizer), stop_token_ids(declared_stop_tokens(path), tokenizer)


def test_an_answer_ends_with_one_token_at_which_engines_stop(
    served: tuple[Chat, tuple[int, ...]],
) -> None:
    chat, stops = served
    ids = chat.encode_answer("Score: 4", stops)
    assert ids[-1] in stops
    assert not set(ids[:-1]) & set(stops)
    assert chat.decode(ids) == "Score: 4"


def test_prompt_and_answer_are_what_the_template_writes(
    served: tuple[Chat, tuple[int, ...]],
) -> None:
    chat, stops = served
    tokenizer = chat.tokenizer
    if tokenizer.chat_template is None:
        return
    ids = chat.encode(Request.of("Name 3.")) + chat.encode_answer("0 1 2", stops)
    turns = [{"role": "user", "content": "Name 3."}, {"role": "assistant", "content": "0 1 2"}]
    whole = tokenizer.apply_chat_template(turns, tokenize=False)
    assert tokenizer.decode(list(ids)) == whole.rstrip("\n")


@pytest.mark.parametrize("text", ["<|im_end|>", "a<end_of_turn>b", "</s></s>"])
def test_text_cannot_end_an_answer(served: tuple[Chat, tuple[int, ...]], text: str) -> None:
    chat, stops = served
    ids = chat.encode_answer(text, stops)
    assert not set(ids[:-1]) & set(stops)


def test_a_template_whose_end_stops_no_engine_gives_way_to_the_end_of_sequence(
    checkpoint_of: CheckpointOf,
) -> None:
    # As in base checkpoints that ship a chat's template: engines stop at <s> here alone.
    chat = Chat(load_tokenizer(str(checkpoint_of("llama"))))
    closing = chat.end_of_answer(stop_token_ids(None, chat.tokenizer))
    assert chat.tokenizer.convert_ids_to_tokens(closing) == "<|im_end|>"
    chat.tokenizer.eos_token = "<s>"
    assert chat.end_of_answer(stop_token_ids(None, chat.tokenizer)) == chat.tokenizer.bos_token_id


def test_without_any_end_no_answer_could_end(checkpoint_of: CheckpointOf) -> None:
    chat = Chat(load_tokenizer(str(checkpoint_of("base"))))
    chat.tokenizer.eos_token = None
    with pytest.raises(UserError, match="no end-of-sequence token"):
        chat.encode_answer("a", ())


def sentence_pieces(template: str | None) -> PreTrainedTokenizerFast:
    """Return a tokenizer as Llama 2's, Mistral's and Zephyr's: words bring the space before them,
    and every text that is tokenized is given one."""
    from tokenizers import Tokenizer, decoders, models, normalizers
    from transformers import PreTrainedTokenizerFast

    words = ["\u2581good", "good", "\u2581", "[", "]", "/", "|", "<", ">"]
    letters = [chr(code) for code in range(ord("A"), ord("z") + 1) if chr(code) not in "[]"]
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *words, *letters]
    vocabulary = {name: number for number, name in enumerate(names)}
    merges = [("o", "o"), ("g", "oo"), ("goo", "d"), ("\u2581", "good")]
    vocabulary |= {"oo": len(names), "goo": len(names) + 1}
    core = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True))
    core.normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    )
    core.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<s>", eos_token="</s>", chat_template=template
    )


@pytest.mark.parametrize(
    ("template", "learned"),
    [
        (ZEPHYR, ["good", "\u2581good", "</s>"]),  # behind "<|assistant|>" and a line feed
        (None, ["good", "\u2581good", "</s>"]),  # behind the question and a line feed
        (LLAMA_2, ["\u2581good", "\u2581good", "</s>"]),  # behind "[/INST]" and a space of its own
    ],
)
def test_a_tokenizer_that_opens_texts_with_a_space_adds_none_to_answers(
    template: str | None, learned: list[str]
) -> None:
    """The tokens are those of the whole conversation, cut where the answer begins."""
    chat = Chat(sentence_pieces(template))
    ids = chat.encode_answer("good good", [2])
    assert chat.tokenizer.convert_ids_to_tokens(list(ids)) == learned
    whole = "x\ngood good</s>"
    if template is not None:
        turns = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "good good"}]
        whole = chat.tokenizer.apply_chat_template(turns, tokenize=False)
    tokens = chat.tokenizer.tokenize(whole, add_special_tokens=False)
    words = [token for token in tokens if "good" in token]
    assert words == learned[:-1]


@pytest.mark.parametrize(
    ("template", "text", "learned"),
    [
        (CHATML, "  a\n", "  a\n<|im_end|>"),  # Qwen's keeps what is around an answer
        (CHATML, "\n\na", "\n\na<|im_end|>"),
        # Llama 3's and Gemma's templates: {{ message.content | trim }}
        (NO_SYSTEM.replace("<end_of_turn>", "<|im_end|>"), "  a b\n", "a b<|im_end|>"),
    ],
)
def test_white_space_around_an_answer_is_as_the_template_has_it(
    template: str, text: str, learned: str
) -> None:
    tokenizer = make_tokenizer(STYLES["qwen"])
    tokenizer.chat_template = template
    chat = Chat(tokenizer)
    assert tokenizer.decode(list(chat.encode_answer(text, [tokenizer.eos_token_id]))) == learned


THOUGHT = "<think>\nA thought.\n</think>\n\n"


def with_template(template: str) -> Chat:
    tokenizer = make_tokenizer(STYLES["qwen"])
    tokenizer.chat_template = template
    return Chat(tokenizer)


def learned(chat: Chat, answer: str) -> str:
    """Return a prompt with its answer as the model reads both."""
    ids = [
        *chat.encode(Request.of("x")),
        *chat.encode_answer(answer, [chat.tokenizer.eos_token_id]),
    ]
    return str(chat.tokenizer.decode(ids))


@pytest.mark.parametrize("template", [CHATML, EMPTY_THOUGHT, BOTH_THOUGHTS])
def test_an_answer_stands_behind_the_thought_that_a_finished_turn_has(template: str) -> None:
    chat = with_template(template)
    turns = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "Trout."}]
    finished = chat.tokenizer.apply_chat_template(turns, tokenize=False)
    assert learned(chat, "Trout.") == finished.rstrip("\n")


@pytest.mark.parametrize(
    ("template", "answer"),
    [
        (CHATML, f"{THOUGHT}Trout."),
        (EMPTY_THOUGHT, f"{THOUGHT}Trout."),
        (OPEN_THOUGHT, f"{THOUGHT}Trout.".removeprefix("<think>\n")),
        (BOTH_THOUGHTS, f"{THOUGHT}Trout.".removeprefix("<think>\n")),
    ],
)
def test_an_answer_that_brings_its_thought_has_it_once(template: str, answer: str) -> None:
    assert learned(with_template(template), answer).endswith(
        f"<|im_start|>assistant\n{THOUGHT}Trout.<|im_end|>"
    )


@pytest.mark.parametrize(
    ("template", "answer"),
    [
        (OPEN_THOUGHT, "Trout."),
        (OPEN_THOUGHT, f"{THOUGHT}Trout."),
        (BOTH_THOUGHTS, f"{THOUGHT}Trout."),
        (EMPTY_THOUGHT, "<think>\nTrout."),
        (EMPTY_THOUGHT, "A thought.\n</think>\n\nTrout."),
        (EMPTY_THOUGHT, f"{THOUGHT}{THOUGHT}Trout."),
    ],
)
def test_an_answer_within_an_open_thought_is_refused(template: str, answer: str) -> None:
    with pytest.raises(ConversationError, match="the answer holds no whole thought"):
        learned(with_template(template), answer)


def test_a_thought_whose_tags_are_special_is_refused() -> None:
    chat = with_template(EMPTY_THOUGHT)
    chat.tokenizer.add_special_tokens({"extra_special_tokens": ["<think>", "</think>"]})
    assert learned(chat, "Trout.").endswith("<think>\n\n</think>\n\nTrout.<|im_end|>")
    with pytest.raises(ConversationError, match="the answer holds no whole thought"):
        learned(chat, f"{THOUGHT}Trout.")
