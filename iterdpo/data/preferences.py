"""Preference pairs that somebody gave: which of two answers to a conversation is better.

Read are the formats of TRL and of the datasets in use, told apart row by row:

- an explicit prompt, a text or a list of messages, with two answers, each a text, a message, or
  the whole conversation (UltraFeedback-binarized);
- an implicit prompt: two conversations that differ in their last turn, as lists of messages or as
  transcripts with ``Human:`` and ``Assistant:`` (HH-RLHF).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from iterdpo.conversation import Message
from iterdpo.data.converting import convert
from iterdpo.data.rows import Row
from iterdpo.data.turns import (
    INPUT,
    UNREAD,
    bare_text,
    input_of,
    is_transcript,
    messages_of,
    require_text_alone,
    transcript_messages,
    warn_of_templates,
)
from iterdpo.data.values import RowError, excerpt, field_of, kind_of, number_of, text_of


class PairDrop(StrEnum):
    """Why a row is no pair, though nothing in it is broken; tried in this order."""

    DIFFERENT_PROMPTS = "different_prompts"
    """The two answers belong to conversations that differ before the last turn."""
    NO_QUESTION = "no_question"
    """The prompt does not end with a turn of the user, or the answer is none of the assistant."""
    EMPTY = "empty"
    """The user's last turn or an answer is white space or nothing."""
    IDENTICAL = "identical"
    """Both answers are the same text but for white space."""
    CONTRADICTED = "contradicted"
    """The chosen answer has the lower score."""
    MARGIN = "margin"
    """The scores differ by less than the smallest margin."""


@dataclass(frozen=True, slots=True)
class OfflinePair:
    """One preference of a dataset, not yet in any model's template."""

    prompt: tuple[Message, ...]
    """The conversation up to the user's turn that is answered, a system message first if any."""
    chosen: str
    rejected: str
    chosen_score: float | None
    rejected_score: float | None
    row: str
    """Its place in the source, such as ``line 12`` or ``train, row 12``."""


@dataclass(frozen=True, slots=True)
class OfflinePairs:
    """The pairs of a source, and what became of its other rows."""

    kept: tuple[OfflinePair, ...]
    dropped: Mapping[PairDrop, int]
    """Every reason with its number of rows, 0 included: kept and dropped add up to the rows."""


@dataclass(frozen=True, kw_only=True)
class PairFields:
    """What the fields are called. Where one of the last four is absent, there is none."""

    chosen: str = "chosen"
    rejected: str = "rejected"
    prompt: str = "prompt"
    system: str = "system"
    chosen_score: str = "score_chosen"
    rejected_score: str = "score_rejected"

    @property
    def columns(self) -> tuple[str, ...]:
        """Every field that is looked at."""
        return (
            self.chosen, self.rejected, self.prompt, self.system, self.chosen_score,
            self.rejected_score, INPUT, *UNREAD,
        )  # fmt: skip


def read_pairs(
    rows: Iterable[Row],
    fields: PairFields | None = None,
    *,
    key: str,
    min_margin: float = 0.0,
) -> OfflinePairs:
    """Return the preference pairs of a source's rows, in their order.

    Args:
        rows: As ``data.source.read_source`` returns them.
        fields: What the fields are called, if not as in UltraFeedback-binarized.
        key: The setting and its value, such as ``preferences.path=FILE``, for messages.
        min_margin: Smallest difference of the scores where both are given, at least 0. With 0 an
            equal score is no reason to drop a pair: the dataset says which is chosen.

    Raises:
        UserError: rows are broken; how many, and the first few with place and value.
    """
    named = fields or PairFields()
    read = convert(rows, lambda row: _pair(row, named), key)
    kept: list[OfflinePair] = []
    dropped: Counter[PairDrop] = Counter()
    for item in read:
        reason = item if isinstance(item, PairDrop) else _drop_reason(item, min_margin)
        if reason is not None:
            dropped[reason] += 1
        elif isinstance(item, OfflinePair):
            kept.append(item)
    warn_of_templates([pair.prompt[0].content for pair in kept], key)
    return OfflinePairs(tuple(kept), {reason: dropped[reason] for reason in PairDrop})


def _pair(row: Row, named: PairFields) -> OfflinePair | PairDrop:
    require_text_alone(row.fields)
    opening = _opening(row.fields, named)
    good = _conversation(field_of(row.fields, named.chosen), named.chosen, opening)
    bad = _conversation(field_of(row.fields, named.rejected), named.rejected, opening)
    if good[:-1] != bad[:-1]:
        return PairDrop.DIFFERENT_PROMPTS
    prompt = good[:-1]
    roles = (prompt[-1].role if prompt else "", good[-1].role, bad[-1].role)
    if roles != ("user", "assistant", "assistant"):
        return PairDrop.NO_QUESTION
    return OfflinePair(
        prompt=prompt,
        chosen=good[-1].content,
        rejected=bad[-1].content,
        chosen_score=number_of(row.fields.get(named.chosen_score), named.chosen_score),
        rejected_score=number_of(row.fields.get(named.rejected_score), named.rejected_score),
        row=row.where,
    )


def _opening(fields: Mapping[str, object], named: PairFields) -> tuple[Message, ...]:
    """Return the explicit prompt with its system message; empty where the prompt is implicit."""
    prompt, system = fields.get(named.prompt), fields.get(named.system)
    messages: tuple[Message, ...] = ()
    if isinstance(prompt, str):
        text = bare_text(prompt, named.prompt)
        spoken = is_transcript(text)
        if spoken:
            messages = transcript_messages(text, named.prompt)
        else:
            parts = (text, input_of(fields, named.prompt))
            messages = (Message("user", "\n\n".join(part for part in parts if part.strip())),)
        # A transcript's prompt ends where the assistant is to speak: "Assistant:" and no more.
        if spoken and messages[-1] == Message("assistant", ""):
            messages = messages[:-1]
    elif prompt is not None:
        messages = messages_of(prompt, named.prompt)
    if system is not None and text_of(system, named.system).strip():
        messages = (Message("system", text_of(system, named.system)), *messages)
    return messages


def _conversation(value: object, name: str, opening: tuple[Message, ...]) -> tuple[Message, ...]:
    """Return an answer with all that it answers, the answer last."""
    if isinstance(value, str):
        text = bare_text(value, name)
        if not any(message.role == "user" for message in opening):
            if not is_transcript(text):
                raise RowError(
                    f'{name}={excerpt(text)} is no transcript of "Human:" and "Assistant:", and no '
                    "field of the row holds the prompt"
                )
            return (*opening, *transcript_messages(text, name))
        return (*opening, Message("assistant", text))
    if isinstance(value, Mapping):
        return (*opening, *messages_of([value], name))
    if value is None:
        raise RowError(f"{name}={excerpt(value)} is {kind_of(value)}, not a text or list of turns")
    turns = messages_of(value, name)
    if turns[0].role == "assistant":
        return (*opening, *turns)
    # The whole conversation: the prompt beside it says the same or less.
    system = [message for message in opening if message.role == "system"]
    return turns if turns[0].role == "system" else (*system, *turns)


def _drop_reason(pair: OfflinePair, min_margin: float) -> PairDrop | None:
    texts = (pair.prompt[-1].content, pair.chosen, pair.rejected)
    if not all(text.strip() for text in texts):
        return PairDrop.EMPTY
    if pair.chosen.split() == pair.rejected.split():
        return PairDrop.IDENTICAL
    if pair.chosen_score is not None and pair.rejected_score is not None:
        if pair.chosen_score < pair.rejected_score:
            return PairDrop.CONTRADICTED
        if pair.chosen_score - pair.rejected_score < min_margin:
            return PairDrop.MARGIN
    return None
