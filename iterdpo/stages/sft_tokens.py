"""From demonstrations to token ids that a model learns from."""

from __future__ import annotations

from collections.abc import Sequence

from iterdpo.data.instructions import Demonstration
from iterdpo.data.values import report
from iterdpo.errors import UserError
from iterdpo.models.chat_messages import Request
from iterdpo.models.chat_template import Chat, ConversationError, stop_token_ids
from iterdpo.models.loading import declared_stop_tokens, load_tokenizer
from iterdpo.training.spec import SftExample


def sft_examples_of(
    demonstrations: Sequence[Demonstration],
    checkpoint: str,
    longest: int | None,
    trust_remote_code: bool = False,
) -> list[SftExample]:
    """Return an example for each demonstration that has room for some of its answer.

    Args:
        demonstrations: what to learn, in order.
        checkpoint: directory whose tokenizer and chat template are used.
        longest: most tokens of prompt and answer; a longer answer is cut, and left out where
            nothing of it would remain. None for no limit.
        trust_remote_code: run the tokenizer's own code, if it brings any.

    Raises:
        UserError: the template does not take some of them; how many, and the first few.
    """
    chat = Chat(load_tokenizer(checkpoint, trust_remote_code))
    stops = stop_token_ids(declared_stop_tokens(checkpoint), chat.tokenizer)
    made: list[SftExample] = []
    problems: list[str] = []
    for item in demonstrations:
        try:
            made.append(cut(sft_example_of(chat, item, stops), longest))
        except ConversationError as error:
            problems.append(f"{item.row}: {error}")
    if problems:
        raise UserError(report("sft", problems, len(demonstrations)))
    return [example for example in made if example.answer_ids]


def sft_example_of(chat: Chat, demonstration: Demonstration, stops: Sequence[int]) -> SftExample:
    """Return the very tokens that an engine would read, and the answer as it should write it.

    Prompt and answer are tokenized apart, as they are in use: the engine's prompt ends before the
    answer's first token, whatever letters would have merged across that border.
    """
    prompt = chat.encode(Request(demonstration.prompt))
    return SftExample(prompt, chat.encode_answer(demonstration.response, stops))


def cut(example: SftExample, longest: int | None) -> SftExample:
    """Return an example of at most ``longest`` tokens: the end of its answer goes first."""
    if longest is None:
        return example
    room = max(0, longest - len(example.prompt_ids))
    return SftExample(example.prompt_ids, example.answer_ids[:room])
