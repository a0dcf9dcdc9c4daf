"""Answers that people or a stronger model put in order, as a judge is measured on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from iterdpo.conversation import Message
from iterdpo.data.instructions import OASST_COLUMNS, RankedAnswers, read_oasst, read_ranked
from iterdpo.data.preferences import PairFields, read_pairs
from iterdpo.data.source import RowSource, read_source
from iterdpo.errors import UserError


@dataclass(frozen=True, slots=True)
class LabelledAnswers:
    """A conversation and two or more answers to it, best first."""

    messages: tuple[Message, ...]
    answers: tuple[str, ...]
    row: str
    """Its place in the source, such as ``line 12``."""


def read_labelled(source: RowSource, language: str | None = "en") -> list[LabelledAnswers]:
    """Return the labelled answers of a source, in its order.

    Read are preference pairs in every form of ``data.preferences``; ``prompt`` with ``responses``,
    a list with the best first; and messages of OpenAssistant's trees. The first row says which.

    Args:
        source: a file, a directory or a dataset of the hub.
        language: of OpenAssistant's trees, the questions to keep; null keeps all.

    Raises:
        UserError: it cannot be read, rows are broken, or none has two answers.
    """
    fields = PairFields()
    rows = read_source(source, (*fields.columns, "responses", *OASST_COLUMNS))
    first = rows[0].fields
    if first.get("chosen") is None and first.get("responses") is not None:
        found = _ranked_items(read_ranked(rows, key=source.said))
    elif first.get("chosen") is None and first.get("message_id") is not None:
        found = _ranked_items(read_oasst(rows, key=source.said, language=language))
    else:
        found = [
            LabelledAnswers(pair.prompt, (pair.chosen, pair.rejected), pair.row)
            for pair in read_pairs(rows, fields, key=source.said).kept
        ]
    if not found:
        raise UserError(f"{source.said}: no row has two different answers in order: check it")
    return found


def _ranked_items(ranked: Sequence[RankedAnswers]) -> list[LabelledAnswers]:
    return [
        LabelledAnswers((Message("user", item.prompt),), item.answers, item.row)
        for item in ranked
        if len(item.answers) > 1
    ]
