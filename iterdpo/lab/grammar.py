"""The instructions of the lab: five kinds of task, written and read as plain text.

============  =====================================================================
kind          an instruction of it
============  =====================================================================
``name``      name four animals in reverse order without fox
``sort``      sort pear fig apple in alphabetical order
``count``     count from three to nine backwards without five
``say``       say fox three times and then owl two times
``tell``      write three sentences about the fox with verbs in alphabetical order
============  =====================================================================

Any of them may go on: ``, start with well and finish with done``.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal, get_args

from iterdpo.lab.words import (
    CATEGORIES,
    CLOSERS,
    ITEMS,
    NUMBERS,
    OPENERS,
    SUBJECTS,
    VERBS,
    number_word,
)

Kind = Literal["name", "sort", "count", "say", "tell"]
Order = Literal["any", "forward", "reverse"]

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)


@dataclass(frozen=True, slots=True)
class Task:
    """What one instruction asks for.

    Raises:
        ValueError: the fields do not fit together, so that no instruction says this.
    """

    kind: Kind
    words: tuple[str, ...]
    """``name``: the category. ``sort``: the words given. ``count``: the first and the last number,
    smaller first. ``say``: the two words. ``tell``: the subject."""
    numbers: tuple[int, ...] = ()
    """``name``: how many items, 2 to 6. ``say``: how often each word, 2 to 4. ``tell``: how many
    sentences, 2 to 4. Otherwise empty."""
    order: Order = "any"
    """``any`` for ``name`` and ``tell`` only; ``say`` is always ``forward``."""
    without: str | None = None
    """A word of the pool that must not be said. Never set for ``say``."""
    opener: str | None = None
    closer: str | None = None

    def __post_init__(self) -> None:
        fits = (
            _VALID[self.kind](self)
            and (self.without is None or (self.kind != "say" and self.without in self.pool))
            and (self.opener is None or self.opener in OPENERS)
            and (self.closer is None or self.closer in CLOSERS)
        )
        if not fits:
            raise ValueError(f"not a task of the lab: {self}")

    @property
    def pool(self) -> tuple[str, ...]:
        """Every word that is on topic, in the order that ``forward`` means (verbs for ``tell``)."""
        match self.kind:
            case "name":
                return CATEGORIES[self.words[0]]
            case "sort":
                return tuple(sorted(self.words))
            case "count":
                first, last = (NUMBERS.index(word) for word in self.words)
                return NUMBERS[first : last + 1]
            case "say":
                return self.words
            case "tell":
                return VERBS

    @property
    def allowed(self) -> dict[str, int]:
        """How often each word of the pool may be said: the one to avoid never."""
        times = self.numbers if self.kind == "say" else (1,) * len(self.pool)
        return {
            word: 0 if word == self.without else limit
            for word, limit in zip(self.pool, times, strict=True)
        }

    @property
    def count(self) -> int:
        """How many items (``tell``: sentences) a perfect answer has."""
        if self.kind in ("name", "tell"):
            return self.numbers[0]
        return sum(self.allowed.values())


_VALID: Final[dict[Kind, Callable[[Task], bool]]] = {
    "name": lambda task: (
        len(task.words) == len(task.numbers) == 1
        and task.words[0] in CATEGORIES
        and 2 <= task.numbers[0] <= 6
    ),
    "sort": lambda task: (
        3 <= len(task.words) <= 6
        and len(set(task.words)) == len(task.words)
        and not task.numbers
        and any(set(task.words) <= set(items) for items in CATEGORIES.values())
        and task.order != "any"
    ),
    "count": lambda task: (
        len(task.words) == 2
        and set(task.words) <= set(NUMBERS)
        and 2 <= NUMBERS.index(task.words[1]) - NUMBERS.index(task.words[0]) <= 7
        and not task.numbers
        and task.order != "any"
    ),
    "say": lambda task: (
        len(set(task.words)) == len(task.words) == len(task.numbers) == 2
        and set(task.words) <= set(ITEMS)
        and all(2 <= times <= 4 for times in task.numbers)
        and task.order == "forward"
    ),
    "tell": lambda task: (
        len(task.words) == len(task.numbers) == 1
        and task.words[0] in SUBJECTS
        and 2 <= task.numbers[0] <= 4
    ),
}

_ORDER_PHRASES: Final[dict[Order, str]] = {
    "any": "",
    "forward": " in alphabetical order",
    "reverse": " in reverse order",
}


def render(task: Task) -> str:
    """Return the instruction, words separated by single spaces."""
    order = _ORDER_PHRASES[task.order]
    match task.kind:
        case "name":
            body = f"name {number_word(task.numbers[0])} {task.words[0]}{order}"
        case "sort":
            body = f"sort {' '.join(task.words)}{order}"
        case "count":
            backwards = " backwards" if task.order == "reverse" else ""
            body = f"count from {task.words[0]} to {task.words[1]}{backwards}"
        case "say":
            first, then = (
                f"say {word} {number_word(times)} times"
                for word, times in zip(task.words, task.numbers, strict=True)
            )
            body = f"{first} and then {then.removeprefix('say ')}"
        case "tell":
            verbs = f" with verbs{order}" if order else ""
            body = (
                f"write {number_word(task.numbers[0])} sentences about the {task.words[0]}{verbs}"
            )
    without = f" without {task.without}" if task.without else ""
    ends = [
        phrase
        for phrase in (
            f"start with {task.opener}" if task.opener else "",
            f"finish with {task.closer}" if task.closer else "",
        )
        if phrase
    ]
    return body + without + (f" , {' and '.join(ends)}" if ends else "")


_TAIL: Final = (
    r"(?: without (?P<without>\w+))?"
    r"(?: ,(?: start with (?P<opener>\w+))?(?: and)?(?: finish with (?P<closer>\w+))?)?"
)
_ORDERED: Final = r"(?: in (?P<order>alphabetical|reverse) order)?"
_BODIES: Final[dict[Kind, str]] = {
    "name": r"name (?P<n>\w+) (?P<words>\w+)" + _ORDERED,
    "sort": r"sort (?P<words>\w+(?: \w+)*?)" + _ORDERED,
    "count": r"count from (?P<words>\w+ to \w+)(?: (?P<order>backwards))?",
    "say": r"say (?P<words>\w+) (?P<n>\w+) times and then (?P<second>\w+) (?P<m>\w+) times",
    "tell": r"write (?P<n>\w+) sentences about the (?P<words>\w+)(?: with verbs" + _ORDERED + ")?",
}
_PATTERNS: Final = {kind: re.compile(body + _TAIL) for kind, body in _BODIES.items()}


def parse(text: str) -> Task:
    """Return the task whose instruction is exactly ``text``.

    Raises:
        ValueError: no task of the lab reads like this.
    """
    for kind, pattern in _PATTERNS.items():
        if found := pattern.fullmatch(text):
            # The patterns are wider than the grammar: what they let through may be no task, or
            # one that reads a little differently.
            with suppress(ValueError):
                task = _task(kind, found.groupdict())
                if render(task) == text:
                    return task
    raise ValueError(f"not an instruction of the lab: {text[:80]!r}")


def _task(kind: Kind, groups: dict[str, str | None]) -> Task:
    words = (groups["words"] or "").replace(" to ", " ").split()
    words += [groups["second"] or ""] if kind == "say" else []
    order: Order
    match groups.get("order"):
        case "reverse" | "backwards":
            order = "reverse"
        case "alphabetical":
            order = "forward"
        case _:
            order = "forward" if kind in ("count", "say") else "any"
    numbers = tuple(NUMBERS.index(word) + 1 for key in "nm" if (word := groups.get(key)))
    tail = {key: groups[key] for key in ("without", "opener", "closer")}
    return Task(kind, tuple(words), numbers, order, **tail)


_SIZES: Final[dict[Kind, int]] = {
    "name": 16_000,
    "sort": 12_000,
    "count": 7_000,
    "say": 7_000,
    "tell": 8_000,
}


@cache
def universe() -> tuple[Task, ...]:
    """Return the 50,000 distinct tasks of the lab, always the same, kind after kind.

    The grammar allows more; these are drawn from it with a fixed seed, so that the kinds and
    their wishes (an order, a word to avoid, an opener, a closer) come in the shares wanted.
    """
    tasks: list[Task] = []
    for kind, size in _SIZES.items():
        rng = random.Random(f"lab universe: {kind}")
        drawn: dict[Task, None] = {}
        while len(drawn) < size:
            drawn[_draw(kind, rng)] = None
        tasks += drawn
    return tuple(tasks)


def _draw(kind: Kind, rng: random.Random) -> Task:
    direction: Order = "reverse" if rng.random() < 0.35 else "forward"
    order: Order = direction if rng.random() < 0.8 else "any"
    words: tuple[str, ...]
    numbers: tuple[int, ...] = ()
    match kind:
        case "name":
            words, numbers = (rng.choice(tuple(CATEGORIES)),), (rng.randint(2, 6),)
        case "sort":
            items = CATEGORIES[rng.choice(tuple(CATEGORIES))]
            words, order = tuple(rng.sample(items, rng.randint(3, 6))), direction
        case "count":
            low = rng.randint(0, len(NUMBERS) - 3)
            high = rng.randint(low + 2, min(low + 7, len(NUMBERS) - 1))
            words, order = (NUMBERS[low], NUMBERS[high]), direction
        case "say":
            words, order = tuple(rng.sample(ITEMS, 2)), "forward"
            numbers = (rng.randint(2, 4), rng.randint(2, 4))
        case "tell":
            words, numbers = (rng.choice(SUBJECTS),), (rng.randint(2, 4),)
    task = Task(
        kind,
        words,
        numbers,
        order,
        opener=rng.choice(OPENERS) if rng.random() < 0.4 else None,
        closer=rng.choice(CLOSERS) if rng.random() < 0.45 else None,
    )
    if kind == "say" or rng.random() >= 0.5:
        return task
    avoided = rng.choice(task.pool)
    return Task(kind, words, numbers, order, avoided, task.opener, task.closer)
