"""The instructions of the lab: three kinds of task, written and read as plain text.

========  ====================================================================
kind      an instruction of it
========  ====================================================================
``name``  name four animals in reverse order without fox
``pick``  pick three of pear fig date apple kiwi in alphabetical order
``tell``  tell three things about the fox with verbs in alphabetical order
========  ====================================================================

Any of them may go on: ``, start with well and finish with done``.
"""

from __future__ import annotations

import random
import re
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal, get_args

from iterdpo.lab.words import CATEGORIES, CLOSERS, NUMBERS, OPENERS, SUBJECTS, VERBS

Kind = Literal["name", "pick", "tell"]
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
    """``name``: the category. ``pick``: the 4 to 7 words to pick from, all of one category.
    ``tell``: the subject."""
    number: int
    """How many items to say (``tell``: sentences), 2 to 6, ``tell`` at most 5."""
    order: Order = "any"
    """``forward`` is alphabetical; for ``tell`` it is the verbs that are ordered."""
    without: str | None = None
    """A word of the pool that must not be said."""
    opener: str | None = None
    closer: str | None = None

    def __post_init__(self) -> None:
        match self.kind:
            case "name":
                fits = len(self.words) == 1 and self.words[0] in CATEGORIES
            case "pick":
                fits = (
                    4 <= len(set(self.words)) == len(self.words) <= 7
                    and any(set(self.words) <= set(items) for items in CATEGORIES.values())
                    and self.number < len(self.words)
                )
            case "tell":
                fits = len(self.words) == 1 and self.words[0] in SUBJECTS and self.number <= 5
        if not (
            fits
            and 2 <= self.number <= len(NUMBERS)
            and (self.without is None or self.without in self.pool)
            and (self.opener is None or self.opener in OPENERS)
            and (self.closer is None or self.closer in CLOSERS)
        ):
            raise ValueError(f"not a task of the lab: {self}")

    @property
    def pool(self) -> tuple[str, ...]:
        """Every word that is on topic, the one to avoid included; for ``tell`` these are verbs."""
        match self.kind:
            case "name":
                return CATEGORIES[self.words[0]]
            case "pick":
                return self.words
            case "tell":
                return VERBS

    @property
    def choices(self) -> tuple[str, ...]:
        """The words of the pool that may be said."""
        return tuple(word for word in self.pool if word != self.without)


_ORDER_PHRASES: Final[dict[Order, str]] = {
    "any": "",
    "forward": " in alphabetical order",
    "reverse": " in reverse order",
}


def render(task: Task) -> str:
    """Return the instruction, words separated by single spaces."""
    number, order = NUMBERS[task.number - 1], _ORDER_PHRASES[task.order]
    match task.kind:
        case "name":
            body = f"name {number} {task.words[0]}{order}"
        case "pick":
            body = f"pick {number} of {' '.join(task.words)}{order}"
        case "tell":
            verbs = f" with verbs{order}" if order else ""
            body = f"tell {number} things about the {task.words[0]}{verbs}"
    without = f" without {task.without}" if task.without else ""
    start = f" start with {task.opener}" if task.opener else ""
    finish = f" finish with {task.closer}" if task.closer else ""
    joint = " and" if start and finish else ""
    return f"{body}{without}{' ,' if start or finish else ''}{start}{joint}{finish}"


_BODIES: Final[dict[Kind, str]] = {
    "name": r"name (?P<number>\w+) (?P<words>\w+)",
    "pick": r"pick (?P<number>\w+) of (?P<words>\w+(?: \w+)*?)",
    "tell": r"tell (?P<number>\w+) things about the (?P<words>\w+)(?: with verbs)?",
}
_TAIL: Final = (
    r"(?P<order> in (?:alphabetical|reverse) order)?"
    r"(?: without (?P<without>\w+))?"
    r"(?: ,(?: start with (?P<opener>\w+))?(?: and)?(?: finish with (?P<closer>\w+))?)?"
)
_PATTERNS: Final = {kind: re.compile(body + _TAIL) for kind, body in _BODIES.items()}


def parse(text: str) -> Task:
    """Return the task whose instruction is exactly ``text``.

    Raises:
        ValueError: no task of the lab reads like this.
    """
    orders = {phrase: order for order, phrase in _ORDER_PHRASES.items()}
    for kind, pattern in _PATTERNS.items():
        if found := pattern.fullmatch(text):
            # The patterns are wider than the grammar: what they let through may be no task, or
            # one that reads a little differently.
            with suppress(ValueError):
                task = Task(
                    kind,
                    tuple(found["words"].split()),
                    NUMBERS.index(found["number"]) + 1,
                    orders[found["order"] or ""],
                    found["without"],
                    found["opener"],
                    found["closer"],
                )
                if render(task) == text:
                    return task
    raise ValueError(f"not an instruction of the lab: {text[:80]!r}")


_SIZES: Final[dict[Kind, int]] = {"name": 18_000, "pick": 20_000, "tell": 12_000}


@cache
def universe() -> tuple[Task, ...]:
    """Return the 50,000 distinct tasks of the lab, always the same, kind after kind.

    The grammar allows more; these are drawn from it with a fixed seed, so that wishes (an order, a
    word to avoid, an opener, a closer) come in the shares wanted.
    """
    tasks: list[Task] = []
    for kind, size in _SIZES.items():
        rng = random.Random(f"lab universe: {kind}")
        drawn: dict[_Fields, None] = {}
        while len(drawn) < size:
            drawn[_draw(kind, rng)] = None
        tasks += (Task(*fields) for fields in drawn)
    return tuple(tasks)


_Fields = tuple[Kind, tuple[str, ...], int, Order, str | None, str | None, str | None]


def _draw(kind: Kind, rng: random.Random) -> _Fields:
    """Return the fields of a task; most draws of a kind come again, and make no second task."""
    words: tuple[str, ...]
    pool: tuple[str, ...]
    match kind:
        case "name":
            words, most = (rng.choice(_CATEGORY_NAMES),), 6
            pool = CATEGORIES[words[0]]
        case "pick":
            items = CATEGORIES[rng.choice(_CATEGORY_NAMES)]
            pool = words = tuple(rng.sample(items, rng.randint(4, 7)))
            most = len(words) - 1
        case "tell":
            words, most = (rng.choice(SUBJECTS),), 5
            pool = VERBS
    number = rng.randint(2, most)
    order = rng.choice(_ORDER_SHARES)
    opener = rng.choice(OPENERS) if rng.random() < 0.4 else None
    closer = rng.choice(CLOSERS) if rng.random() < 0.45 else None
    without = rng.choice(pool) if rng.random() < 0.5 else None
    return kind, words, number, order, without, opener, closer


_CATEGORY_NAMES: Final = tuple(CATEGORIES)
_ORDER_SHARES: Final[tuple[Order, ...]] = ("any",) * 4 + ("forward",) * 9 + ("reverse",) * 7
