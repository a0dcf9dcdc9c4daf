"""The exact judge of the lab: an additive rubric of five points, the same for every kind of task.

========  ==================================================================================
point     awarded when
========  ==================================================================================
topic     every item is on topic: of the category, or among the words to pick from; for
          ``tell``, every sentence reads ``the <subject> <verb> .``
count     there are exactly as many items (``tell``: sentences) as asked
order     the items (``tell``: the verbs) come in the order asked; always, when none is asked
limits    nothing is said twice, and the word to avoid not at all
form      the opener comes first and the closer last where they are asked, and no opener or
          closer is said otherwise
========  ==================================================================================

Items are the answer's words that are neither opener nor closer. An answer without a single item
on topic, the empty one for instance, earns nothing at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from itertools import pairwise
from typing import Final

from iterdpo.lab.grammar import Task, parse
from iterdpo.lab.words import FRAME, VERBS


@dataclass(frozen=True, slots=True)
class Assessment:
    """Which points an answer earns."""

    topic: bool = False
    count: bool = False
    order: bool = False
    limits: bool = False
    form: bool = False

    @property
    def score(self) -> int:
        """The number of points, 0 to 5."""
        return sum(astuple(self))


POINTS: Final = tuple(field.name for field in fields(Assessment))
"""The names of the points, in the order of the rubric."""


def score(instruction: str, response: str) -> int:
    """Return the points that ``response`` earns, 0 to 5.

    Raises:
        ValueError: ``instruction`` is none of the lab's.
    """
    return assess(instruction, response).score


def assess(instruction: str, response: str) -> Assessment:
    """Return the points, by name, that ``response`` earns. Any response can be assessed.

    Raises:
        ValueError: ``instruction`` is none of the lab's.
    """
    return assess_task(parse(instruction), response)


def assess_task(task: Task, response: str) -> Assessment:
    """Return the points that ``response`` earns as an answer to ``task``."""
    words = response.split()
    content = [word for word in words if word not in FRAME]
    if task.kind == "tell":
        sentences = _sentences(content)
        items = [_verb(sentence) for sentence in sentences]
        on_topic = [_is_about(task.words[0], sentence) for sentence in sentences]
    else:
        items = content
        on_topic = [item in task.pool for item in items]
    if not any(on_topic):
        return Assessment()
    return Assessment(
        topic=all(on_topic),
        count=len(items) == task.number,
        order=in_order(task, items),
        limits=len(set(items)) == len(items) and task.without not in items,
        form=_framed(task, words),
    )


def in_order(task: Task, items: Sequence[str]) -> bool:
    """Whether ``items`` (for ``tell``: verbs) come in the order that ``task`` asks for."""
    match task.order:
        case "any":
            return True
        case "forward":
            return all(one <= next_one for one, next_one in pairwise(items))
        case "reverse":
            return all(one >= next_one for one, next_one in pairwise(items))


def _sentences(words: Sequence[str]) -> list[list[str]]:
    """Cut after every full stop; what follows the last one is a sentence without one."""
    sentences: list[list[str]] = [[]]
    for word in words:
        sentences[-1].append(word)
        if word == ".":
            sentences.append([])
    return [sentence for sentence in sentences if sentence]


def _verb(sentence: Sequence[str]) -> str:
    """Return what the sentence says that its subject does; all of it if that is nothing."""
    return next((word for word in sentence if word in VERBS), " ".join(sentence))


def _is_about(subject: str, sentence: Sequence[str]) -> bool:
    match sentence:
        case ["the", who, verb, "."]:
            return who == subject and verb in VERBS
        case _:
            return False


def _framed(task: Task, words: Sequence[str]) -> bool:
    """Whether the frame words are the ones asked for, each at its end of the answer."""
    start = 1 if task.opener else 0
    stop = len(words) - (1 if task.closer else 0)
    return (
        (task.opener is None or words[0] == task.opener)
        and (task.closer is None or words[-1] == task.closer)
        and FRAME.isdisjoint(words[start:stop])
    )
