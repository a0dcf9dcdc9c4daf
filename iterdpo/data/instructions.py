"""Instructions with answers to learn from: instruction fine-tuning (IFT) data, and rankings.

The paper takes both from OpenAssistant (Self-Rewarding Language Models, arXiv 2401.10020, section
3.1): the best answers to first questions in English to learn to answer, and the ranked answers to
the same to learn to judge.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from iterdpo.conversation import Message
from iterdpo.data.converting import convert
from iterdpo.data.rows import Row
from iterdpo.data.turns import (
    UNREAD,
    bare_text,
    messages_of,
    require_text_alone,
    warn_of_templates,
)
from iterdpo.data.values import (
    RowError,
    column_names,
    excerpt,
    field_of,
    kind_of,
    number_of,
    text_of,
)

CONVERSATIONS: Final = ("messages", "conversations", "conversation")
"""Fields that hold a whole conversation, in the order in which they are looked for."""
QUESTIONS: Final = ("instruction", "prompt", "question", "query")
ANSWERS: Final = ("output", "response", "completion", "answer")
INSTRUCTION_COLUMNS: Final = (*CONVERSATIONS, *QUESTIONS, *ANSWERS, "input", "system", *UNREAD)
"""Every field that ``read_demonstrations`` looks at."""
OASST_COLUMNS: Final = ("text", "message_id", "parent_id", "role", "lang", "rank", "deleted")
"""Every field that ``read_oasst`` looks at."""


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A conversation and the answer to learn, not yet in any model's template."""

    prompt: tuple[Message, ...]
    """Ends with a turn of the user; a system message comes first if there is one."""
    response: str
    row: str
    """Its place in the source."""


@dataclass(frozen=True, slots=True)
class RankedAnswers:
    """A question and answers to it that people put in order."""

    prompt: str
    answers: tuple[str, ...]
    """Best first; at least one."""
    row: str


def read_demonstrations(
    rows: Iterable[Row], *, key: str, turn: Literal["first", "last"] = "last"
) -> list[Demonstration]:
    """Return what each row shows of how to answer.

    Read are whole conversations (``messages``, ``conversations``) and a question with an answer
    (``instruction`` with ``input`` and ``output``, ``prompt`` with ``response`` or ``completion``).

    Args:
        rows: As ``data.source.read_source`` returns them.
        key: The setting and its value, for messages.
        turn: Of a conversation, which turn of the assistant is the answer.

    Raises:
        UserError: rows are broken or hold no answer; how many, and the first few.
    """
    read = convert(rows, lambda row: _demonstration(row, turn), key)
    warn_of_templates([item.prompt[0].content for item in read], key)
    return read


def _demonstration(row: Row, turn: str) -> Demonstration:
    fields = row.fields
    require_text_alone(fields)
    system = _optional(fields, "system")
    head = (Message("system", system),) if system.strip() else ()
    whole = _first_given(fields, CONVERSATIONS)
    if whole is not None:
        return _of_conversation(messages_of(fields[whole], whole), whole, turn, head, row.where)
    question, answer = _first_given(fields, QUESTIONS), _first_given(fields, ANSWERS)
    if question is None or answer is None:
        missing = QUESTIONS if question is None else ANSWERS
        raise RowError(f"has none of {', '.join(missing)} (it has: {column_names(list(fields))})")
    if not isinstance(fields[question], str) and isinstance(fields[question], Sequence):
        prompt = (*head, *messages_of(fields[question], question))
    else:
        parts = [bare_text(fields[question], question), _optional(fields, "input")]
        prompt = (*head, Message("user", "\n\n".join(part for part in parts if part.strip())))
    value = fields[answer]
    if not isinstance(value, str) and isinstance(value, Sequence):
        turns = messages_of(value, answer)
        if [item.role for item in turns] != ["assistant"]:
            raise RowError(f"{answer} must hold one turn of the assistant")
        value = turns[0].content
    return _checked(Demonstration(prompt, bare_text(value, answer), row.where), answer)


def _of_conversation(
    turns: tuple[Message, ...], name: str, which: str, head: tuple[Message, ...], where: str
) -> Demonstration:
    places = [place for place, turn in enumerate(turns) if turn.role == "assistant"]
    if not places:
        raise RowError(f"{name} has no turn of the assistant")
    place = places[0 if which == "first" else -1]
    before = turns[:place]
    prompt = before if before and before[0].role == "system" else (*head, *before)
    return _checked(Demonstration(prompt, turns[place].content, where), name)


def _checked(made: Demonstration, answer: str) -> Demonstration:
    if not made.prompt or made.prompt[-1].role != "user":
        raise RowError("what is answered is no turn of the user")
    if not made.prompt[-1].content.strip():
        raise RowError("the user's turn is empty")
    if not made.response.strip():
        raise RowError(f"{answer} is empty")
    return made


def read_ranked(rows: Iterable[Row], *, key: str) -> list[RankedAnswers]:
    """Return rows of ``prompt`` and ``responses``, a list of texts with the best first.

    Raises:
        UserError: rows are broken; how many, and the first few.
    """

    def ranked(row: Row) -> RankedAnswers:
        prompt = text_of(field_of(row.fields, "prompt"), "prompt")
        answers = field_of(row.fields, "responses")
        if not isinstance(answers, Sequence) or isinstance(answers, str):
            raise RowError(f"responses={excerpt(answers)} is {kind_of(answers)}, not a list")
        texts = tuple(text_of(item, f"responses, item {n}") for n, item in enumerate(answers, 1))
        if not prompt.strip() or not texts or not all(text.strip() for text in texts):
            raise RowError("prompt or one of responses is empty, or there is no response")
        return RankedAnswers(prompt, texts, row.where)

    return convert(rows, ranked, key)


def read_oasst(
    rows: Iterable[Row], *, key: str, language: str | None = "en"
) -> list[RankedAnswers]:
    """Return the first questions of OpenAssistant's conversation trees, with their ranked answers.

    Answers without a rank come where there is but one; questions without any usable answer are
    left out, as are deleted messages.

    Args:
        rows: Messages as in ``OpenAssistant/oasst1`` and ``oasst2``, in any order.
        key: The setting and its value, for messages.
        language: Keep questions of this language only; null keeps all.

    Raises:
        UserError: rows are broken; how many, and the first few.
    """
    nodes = [node for node in convert(rows, _node, key) if not node.deleted]
    answers: defaultdict[str, list[_Node]] = defaultdict(list)
    for node in nodes:
        if node.parent is not None and node.role == "assistant" and node.text.strip():
            answers[node.parent].append(node)
    found = []
    for root in nodes:
        if root.parent is not None or root.role != "user" or language not in (None, root.lang):
            continue
        given = answers[root.id]
        ranked = sorted((n for n in given if n.rank is not None), key=lambda n: n.rank or 0)
        best_first = ranked or given[: len(given) == 1]
        if root.text.strip() and best_first:
            found.append(RankedAnswers(root.text, tuple(n.text for n in best_first), root.where))
    return found


def best_answers(ranked: Iterable[RankedAnswers]) -> list[Demonstration]:
    """Return each question with its best answer: the paper's IFT data, section 3.1.1."""
    return [
        Demonstration((Message("user", item.prompt),), item.answers[0], item.row) for item in ranked
    ]


@dataclass(frozen=True, slots=True)
class _Node:
    """One message of a conversation tree."""

    id: str
    parent: str | None
    role: str
    text: str
    lang: object
    rank: float | None
    deleted: bool
    where: str


def _node(row: Row) -> _Node:
    fields = row.fields
    role = field_of(fields, "role")
    if role not in ("prompter", "assistant"):
        raise RowError(f"role={excerpt(role)} is neither prompter nor assistant")
    parent = field_of(fields, "parent_id")
    return _Node(
        id=text_of(field_of(fields, "message_id"), "message_id"),
        parent=None if parent is None else text_of(parent, "parent_id"),
        role="user" if role == "prompter" else "assistant",
        text=text_of(field_of(fields, "text"), "text"),
        lang=fields.get("lang"),
        rank=number_of(fields.get("rank"), "rank"),
        deleted=fields.get("deleted") is True,
        where=row.where,
    )


def _first_given(fields: Mapping[str, object], names: Sequence[str]) -> str | None:
    return next((name for name in names if fields.get(name) is not None), None)


def _optional(fields: Mapping[str, object], name: str) -> str:
    value = fields.get(name)
    return "" if value is None else text_of(value, name)
