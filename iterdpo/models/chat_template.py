"""From messages to token ids and back, for any tokenizer.

Three kinds of checkpoint are served: with a chat template, with one that knows no system role
(the system text then opens the first user message), and base models with none (the texts are
joined by blank lines and the model continues on a new line).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from iterdpo.conversation import Message, half_pair
from iterdpo.errors import UserError
from iterdpo.models.chat_messages import Request
from iterdpo.models.thinking import NO_THINKING, Thinking
from iterdpo.records import Thought

_ZERO_WIDTH_SPACE = "\u200b"


class ConversationError(UserError):
    """A conversation that the model's template does not take. The text says why, not which."""


@dataclass(frozen=True, slots=True)
class TurnOpening:
    """What a template writes between a question and the answer of a finished turn."""

    lead: str = ""
    """What follows what a prompt ends with, such as a thought that is empty."""
    thought: str = ""
    """The tag of the thoughts that it writes, such as ``think``; empty where it writes none."""
    open: bool = False
    """Whether every prompt ends inside a thought."""


class Chat:
    """Encodes requests for one tokenizer.

    Text of users and models is data: where it spells a special token (``<|im_end|>``, ``</s>``),
    the spelling is broken by a zero-width space, so that no text can end its own turn or open
    another's. All other text goes through unchanged.
    """

    def __init__(self, tokenizer: Any, thinking: Thinking = NO_THINKING) -> None:
        self.tokenizer = tokenizer
        self.thinking = thinking

    def encode(self, request: Request, *, at_once: bool = False) -> tuple[int, ...]:
        """Return the token ids of the conversation, ready for the assistant's first token.

        Args:
            request: the conversation.
            at_once: that token is to be one of the answer, not of a thought.

        Raises:
            ConversationError: the template refuses it, or it holds what is no text.
        """
        messages = [Message(m.role, self.as_data(m.content)) for m in request.messages]
        if self.tokenizer.chat_template is None:
            text = "\n\n".join(message.content for message in messages) + "\n"
            ids = list(self.tokenizer(text)["input_ids"])
            # Some base tokenizers close every text; a text that is to be continued stays open.
            while ids and ids[-1] == self.tokenizer.eos_token_id:
                ids.pop()
            return tuple(ids)
        if not self.knows_system_role:
            messages = fold_system(messages)
        text = self._render(messages)
        if at_once:
            text = self.thinking.without_thought(text)
        return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def encode_answer(self, answer: str, stops: Collection[int]) -> tuple[int, ...]:
        """Return the token ids of a whole answer, the token that ends it included.

        White space around it goes where the template drops it, as Llama 3's does. It is tokenized
        behind the white space that stands before every answer: on its own, a tokenizer of the
        SentencePiece family would open it with a space that is not there.

        Args:
            answer: the assistant's text.
            stops: the tokens at which engines end an answer (``stop_token_ids``).

        Between prompt and answer stands what the template writes there in a finished turn, as the
        empty thought of models that may also think.

        Raises:
            UserError: no token is known to end an answer.
            ConversationError: behind the prompt, the answer would be part of a thought, or it is no
                text.
        """
        text = self.as_data(answer.strip() if self._trims_answers else answer)
        text = self._lead_to(answer) + text
        space, before = self._space_before_answers
        ids = self._plain(space + text)
        # The prompt's tokens stay as they are: where space and answer merge, the answer is apart.
        together = space and ids[: len(before)] == before
        ids = ids[len(before) :] if together else self._plain(text)
        return (*ids, self.end_of_answer(stops))

    def end_of_answer(self, stops: Collection[int]) -> int:
        """Return the token that an answer is to end with: the template's, if engines stop there.

        A template may close a turn by a token that nothing declares to be a stop; a model that
        learned it would write on. Then it is the tokenizer's own end of sequence.

        Raises:
            UserError: the tokenizer has none.
        """
        if self.tokenizer.chat_template is not None:
            probe = "end-of-answer-probe"
            for token in self._plain(self._answered(probe).rpartition(probe)[2]):
                if token in stops:
                    return int(token)
        if self.tokenizer.eos_token_id is None:
            raise UserError(
                "model.path: the tokenizer has no end-of-sequence token, so no answer could end; "
                "declare one in its configuration"
            )
        return int(self.tokenizer.eos_token_id)

    def decode(self, token_ids: Sequence[int]) -> str:
        """Return the text of an answer, special tokens left out."""
        text: str = self.tokenizer.decode(
            list(token_ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text

    def read(self, token_ids: Sequence[int]) -> tuple[str, Thought | None]:
        """Return the answer in what a model wrote, and the thought before it."""
        if not self.thinking.closing:
            return self.decode(token_ids), None
        opened = self._opens_thoughts
        return self.thinking.read(token_ids, self._spelled, self.decode, opened=opened)

    def _spelled(self, token_ids: Sequence[int]) -> str:
        """Return the text of tokens, special ones too: a mark may be one."""
        text: str = self.tokenizer.decode(list(token_ids), clean_up_tokenization_spaces=False)
        return text

    @cached_property
    def _opens_thoughts(self) -> bool:
        """Whether every prompt ends inside a thought."""
        if self.tokenizer.chat_template is None:
            return False
        return self._render([Message("user", "x")]).rstrip().endswith(self.thinking.opening)

    def single_token(self, choice: str) -> int:
        """Return the id of the one token that spells ``choice`` at the start of an answer.

        Raises:
            UserError: the tokenizer needs several tokens for it.
        """
        ids = self.tokenizer(choice, add_special_tokens=False)["input_ids"]
        # Tokenizers of the SentencePiece family put a bare word-start token before a digit.
        if len(ids) == 2 and not self.decode(ids[:1]).strip():
            ids = ids[1:]
        if len(ids) != 1 or self.decode(ids).strip() != choice:
            raise UserError(
                f"model.path: the tokenizer does not spell {choice!r} as one token, which a judge "
                "that is asked for one token needs; where that is the run's judge, use "
                "judge.score=sampled, or for a checklist other words (judge.yes, judge.no); where "
                "it is the arbiter, evaluation.arbiter=none"
            )
        return int(ids[0])

    @cached_property
    def knows_system_role(self) -> bool:
        """Whether the chat template renders a system message (some raise, some drop it)."""
        probe = "system-role-probe"
        try:
            return probe in self._render([Message("system", probe), Message("user", "x")])
        except ConversationError:
            return False

    @cached_property
    def _space_before_answers(self) -> tuple[str, list[int]]:
        """The white space that every prompt ends with, empty for none, and its token ids."""
        space = "\n"
        if self.tokenizer.chat_template is not None:
            prompt = self._render([Message("user", "x")])
            space = prompt[len(prompt.rstrip()) :]
        return space, self._plain(space)

    def _lead_to(self, answer: str) -> str:
        turn = self._turn_opening
        if not turn.thought:
            return turn.lead
        opening, closing = f"<{turn.thought}>", f"</{turn.thought}>"
        if turn.lead and not (opening in answer or closing in answer):
            return turn.lead
        begins = answer.lstrip().startswith(opening)
        whole = closing in answer and answer.count(opening) == begins != turn.open
        if whole and self.as_data(opening + closing) == opening + closing:
            return ""
        where = "behind" if turn.open else "with"
        raise ConversationError(
            f"the answer holds no whole thought: the model's template expects it to begin {where} "
            f"{opening}, and to hold {closing} once the thought is over"
        )

    @cached_property
    def _turn_opening(self) -> TurnOpening:
        if self.tokenizer.chat_template is None:
            return TurnOpening()
        probe = "answer-probe"
        prompt = self._render([Message("user", "x")])
        finished = self._answered(probe).partition(probe)[0]
        lead = finished.removeprefix(prompt) if finished.startswith(prompt) else ""
        tag = re.search(r"</?(\w+)>", lead)
        if not finished.startswith(prompt.rstrip()):
            # What only a prompt ends with is a thought that the model is to go on with.
            tag = re.search(r"<(\w+)>\s*\Z", prompt)
        thought = tag[1] if tag else ""
        return TurnOpening(
            lead if lead.strip() else "",
            thought,
            bool(thought) and prompt.rstrip().endswith(f"<{thought}>"),
        )

    @cached_property
    def _trims_answers(self) -> bool:
        """Whether the chat template drops white space around an answer."""
        if self.tokenizer.chat_template is None:
            return False
        probe = "\tanswer-probe\t"
        return probe not in self._answered(probe)

    def _answered(self, answer: str) -> str:
        """Return a conversation that ends with an answer, as the template writes it."""
        turns = [{"role": "user", "content": "x"}, {"role": "assistant", "content": answer}]
        text: str = self.tokenizer.apply_chat_template(
            turns, tokenize=False, **self.thinking.arguments
        )
        return text

    def _plain(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _render(self, messages: Sequence[Message]) -> str:
        turns = [{"role": message.role, "content": message.content} for message in messages]
        try:
            text: str = self.tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=True, **self.thinking.arguments
            )
        # A template is a program of somebody else's, and says by any error what it does not take.
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ConversationError(
                f"the model's chat template refuses the conversation ({reason})"
            ) from None
        return self.thinking.without_thought(text) if self.thinking.closed else text

    def as_data(self, text: str) -> str:
        """Return ``text`` with every spelling of a special token broken.

        Raises:
            ConversationError: it holds half of a surrogate pair.
        """
        if half := half_pair(text):
            raise ConversationError(f"a text holds half of a surrogate pair ({half})")
        for special in self._special_spellings:
            if special in text:
                text = text.replace(special, special[0] + _ZERO_WIDTH_SPACE + special[1:])
        return text

    @cached_property
    def _special_spellings(self) -> tuple[str, ...]:
        added = self.tokenizer.added_tokens_decoder.values()
        spellings = {token.content for token in added if token.special}
        # A one-character special token cannot be broken and is ordinary text to its tokenizer.
        return tuple(sorted(spelling for spelling in spellings if len(spelling) > 1))


def fold_system(messages: Sequence[Message]) -> list[Message]:
    """Return the messages with leading system text moved to the start of the first user turn."""
    system = [message.content for message in messages if message.role == "system"]
    turns = [message for message in messages if message.role != "system"]
    if system and turns:
        turns[0] = Message(turns[0].role, "\n\n".join([*system, turns[0].content]))
    return turns


def stop_token_ids(declared: int | Sequence[int] | None, tokenizer: Any) -> tuple[int, ...]:
    """Return every token that ends an answer: those a checkpoint declares and the tokenizer's."""
    found = [declared] if declared is None or isinstance(declared, int) else list(declared)
    return tuple(sorted({token for token in (*found, tokenizer.eos_token_id) if token is not None}))
