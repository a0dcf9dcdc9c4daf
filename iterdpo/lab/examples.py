"""What the seed model learns from: careless answers, and exact judgments of all sorts of answers.

Only instructions of the split ``seed`` are used.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from iterdpo.lab.answers import FLAWLESS, Habits, possible_slips, write
from iterdpo.lab.grammar import Task, parse
from iterdpo.lab.oracle import assess_task
from iterdpo.lab.splits import instructions
from iterdpo.lab.verdicts import judge_message, verdict
from iterdpo.lab.words import vocabulary

WRITER: Final = Habits(
    stray=0.10,
    miscount=0.18,
    shuffled=0.20,
    reverse_ignored=0.58,
    repeated=0.10,
    avoided_said=0.40,
    opener_lost=0.35,
    closer_lost=0.62,
    unasked_frame=0.04,
)
"""The seed's own habits as a writer. Slips of more than 0.5 show in its greedy answers too."""

_CARE: Final = (0.0, 0.3, 0.6, 1.0, 1.5)
"""How much worse than ``WRITER`` the answers are that the judge learns from."""


_SLIPS_AT_ONCE: Final = (0, 0, 1, 1, 1, 2, 2, 3)


@dataclass(frozen=True, slots=True)
class Example:
    """One exchange to learn: what the user says and what the assistant is to answer."""

    user: str
    assistant: str


class ExampleSource:
    """An endless source of fresh examples; equal seeds give equal examples."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._instructions = instructions("seed")
        self._own_answers: list[tuple[str, str]] = []

    def judge_also(self, responses: Sequence[tuple[str, str]]) -> None:
        """Add (instruction, response) pairs to what ``judgment`` draws from, for three in ten."""
        self._own_answers += responses

    def answer(self) -> Example:
        """Return an instruction with an answer by a writer of the habits ``WRITER``."""
        instruction, task = self._instruction()
        return Example(instruction, write(task, WRITER, self._rng))

    def judgment(self, *, reasons: bool) -> Example:
        """Return a request to judge some answer, with the oracle's judgment."""
        if self._own_answers and self._rng.random() < 0.3:
            return judgment(*self._rng.choice(self._own_answers), reasons=reasons)
        instruction, task = self._instruction()
        return judgment(instruction, self._any_answer(task), reasons=reasons)

    def _instruction(self) -> tuple[str, Task]:
        instruction = self._rng.choice(self._instructions)
        return instruction, parse(instruction)

    def _any_answer(self, task: Task) -> str:
        """Return an answer of any quality: careless ones, near misses, now and then rubbish."""
        rng = self._rng
        kind = rng.random()
        if kind < 0.3:
            return write(task, WRITER.scaled(rng.choice(_CARE)), rng)
        if kind < 0.9:
            # Every slip about as often as every other, or the rare ones are learned last.
            slips = rng.sample(possible_slips(task), rng.choice(_SLIPS_AT_ONCE))
            return write(task, Habits(**dict.fromkeys(slips, 1.0)), rng)
        other = write(self._instruction()[1], FLAWLESS, rng).split()
        own = write(task, FLAWLESS, rng).split()
        if kind < 0.93:
            return " ".join(other)
        if kind < 0.97:
            # What a model says that lost the thread: pieces of two answers and any words.
            words = own[: rng.randint(0, len(own))] + other[rng.randint(0, len(other)) :]
            return " ".join(words)
        return " ".join(rng.choices(own + list(vocabulary()), k=rng.randint(0, 8)))


def judgment(instruction: str, response: str, *, reasons: bool) -> Example:
    """Return the request to judge ``response`` with the judgment that the oracle gives."""
    assessment = assess_task(parse(instruction), response)
    return Example(
        judge_message(instruction, response, reasons=reasons),
        verdict(assessment) if reasons else str(assessment.score),
    )
