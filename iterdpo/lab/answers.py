"""Written answers: perfect ones, and ones with the flaws that a careless writer has.

They are what the seed model learns from. Every flaw costs at least the rubric's point of its
own; some cost two, as the same slips of people do.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, fields, replace
from typing import Final

from iterdpo.lab.grammar import Task
from iterdpo.lab.oracle import in_order
from iterdpo.lab.words import CLOSERS, ITEMS, OPENERS, SUBJECTS


@dataclass(frozen=True, slots=True)
class Habits:
    """How often a writer slips, each a probability that counts where the slip is possible."""

    stray: float = 0.0
    """One item is off topic (``tell``: one sentence is about somebody else, or broken)."""
    miscount: float = 0.0
    """An item or two too few, or, where the pool has more, too many."""
    shuffled: float = 0.0
    """The items come in a wrong order, where an order is asked."""
    reverse_ignored: float = 0.0
    """What is asked in reverse comes forward."""
    repeated: float = 0.0
    """One item is said in the place of another, once too often."""
    avoided_said: float = 0.0
    """The word to avoid is said."""
    opener_lost: float = 0.0
    """The opener asked for is missing or another one."""
    closer_lost: float = 0.0
    """The closer asked for is missing or another one."""
    unasked_frame: float = 0.0
    """An opener or a closer that nobody asked for is said."""

    def scaled(self, factor: float) -> Habits:
        """Return the habits with every probability times ``factor``, at most 1."""
        return replace(
            self,
            **{f.name: min(1.0, factor * getattr(self, f.name)) for f in fields(self)},
        )


FLAWLESS: Final = Habits()
SLIPS: Final = tuple(field.name for field in fields(Habits))


def possible_slips(task: Task) -> tuple[str, ...]:
    """Return the slips that an answer to ``task`` can have, in the order of ``Habits``."""
    possible = {
        "shuffled": task.order != "any",
        "reverse_ignored": task.order == "reverse",
        "avoided_said": task.without is not None,
        "opener_lost": task.opener is not None,
        "closer_lost": task.closer is not None,
        "unasked_frame": task.opener is None or task.closer is None,
    }
    return tuple(slip for slip in SLIPS if possible.get(slip, True))


def write(task: Task, habits: Habits, rng: random.Random) -> str:
    """Return an answer to ``task``, flawed as ``habits`` have it: each slip is drawn on its own."""
    slips = {slip for slip in possible_slips(task) if rng.random() < getattr(habits, slip)}
    items = rng.sample(task.choices, _number(task, "miscount" in slips, rng))
    places = rng.sample(range(len(items)), len(items))
    if "repeated" in slips:
        items[places[0]] = items[places[-1]]
        items += items * (len(items) == 1)
    if "avoided_said" in slips and task.without is not None:
        items[places[0]] = task.without
    if "stray" in slips and task.kind != "tell":
        items[places[-1]] = rng.choice([word for word in ITEMS if word not in task.pool])
    items = _arranged(items, task, slips, rng)
    if task.kind == "tell":
        broken = places[0] if "stray" in slips else None
        items = [
            word
            for place, verb in enumerate(items)
            for word in _sentence(task.words[0], verb, place == broken, rng)
        ]
    return " ".join(_framed(items, task, slips, rng))


def _number(task: Task, miscount: bool, rng: random.Random) -> int:
    if not miscount:
        return task.number
    # Too few is the commoner mistake.
    numbers = [task.number + step for step in (-1, -1, -1, -2, 1, 1, 2)]
    return rng.choice([number for number in numbers if 1 <= number <= len(task.choices)])


def _arranged(items: list[str], task: Task, slips: set[str], rng: random.Random) -> list[str]:
    if task.order == "any":
        return items
    backwards = task.order == "reverse" and "reverse_ignored" not in slips
    arranged = sorted(items, reverse=backwards)
    if "shuffled" in slips and len(set(items)) > 1:
        while in_order(task, arranged):
            rng.shuffle(arranged)
    return arranged


def _sentence(subject: str, verb: str, broken: bool, rng: random.Random) -> list[str]:
    if not broken:
        return ["the", subject, verb, "."]
    match rng.randrange(4):
        case 0:
            return ["the", subject, verb]
        case 1:
            return [subject, verb, "."]
        case _:
            other = rng.choice([animal for animal in SUBJECTS if animal != subject])
            return ["the", other, verb, "."]


def _framed(words: list[str], task: Task, slips: set[str], rng: random.Random) -> list[str]:
    opener = _frame_word(task.opener, "opener_lost" in slips, OPENERS, rng)
    closer = _frame_word(task.closer, "closer_lost" in slips, CLOSERS, rng)
    if "unasked_frame" in slips:
        if task.closer is None and (task.opener is not None or rng.random() < 0.5):
            closer = rng.choice(CLOSERS)
        else:
            opener = rng.choice(OPENERS)
    return [*([opener] if opener else []), *words, *([closer] if closer else [])]


def _frame_word(
    asked: str | None, lost: bool, words: tuple[str, ...], rng: random.Random
) -> str | None:
    """Return the word to say: mostly none when it is lost, sometimes a wrong one."""
    if asked is None or not lost:
        return asked
    return rng.choice([word for word in words if word != asked]) if rng.random() < 0.15 else None
