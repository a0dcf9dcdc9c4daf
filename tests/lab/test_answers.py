from __future__ import annotations

import random
from typing import Final

import pytest

from iterdpo.lab.answers import FLAWLESS, SLIPS, Habits, possible_slips, write
from iterdpo.lab.examples import WRITER
from iterdpo.lab.grammar import universe
from iterdpo.lab.oracle import assess_task

POINT_OF: Final = {
    "stray": "topic",
    "miscount": "count",
    "shuffled": "order",
    "reverse_ignored": "order",
    "repeated": "limits",
    "avoided_said": "limits",
    "opener_lost": "form",
    "closer_lost": "form",
    "unasked_frame": "form",
}


def test_perfect_answers_of_every_kind_score_5() -> None:
    rng = random.Random(0)
    for task in universe()[::7]:
        assert assess_task(task, write(task, FLAWLESS, rng)).score == 5


@pytest.mark.parametrize("slip", SLIPS)
def test_a_single_slip_loses_its_own_point(slip: str) -> None:
    rng = random.Random(1)
    habits = Habits(**{slip: 1.0})
    tried = 0
    for task in universe()[::23]:
        if slip in possible_slips(task):
            assessment = assess_task(task, write(task, habits, rng))
            assert not getattr(assessment, POINT_OF[slip])
            tried += 1
    assert tried > 100


def test_every_slip_at_once_is_still_an_answer() -> None:
    rng = random.Random(2)
    worst = Habits(*[1.0] * len(SLIPS))
    for task in universe()[::23]:
        assert write(task, worst, rng)


def test_equal_seeds_write_equal_answers() -> None:
    tasks = universe()[::500]
    first, second = (
        [write(task, WRITER, rng) for task in tasks] for rng in (random.Random(3), random.Random(3))
    )
    assert first == second


def test_answers_vary_in_length() -> None:
    rng = random.Random(4)
    lengths = [len(write(task, FLAWLESS, rng).split()) for task in universe()[::7]]
    assert min(lengths) <= 2
    assert 20 <= max(lengths) <= 30


def test_scaling_habits_stays_within_probabilities() -> None:
    assert Habits(stray=0.6, miscount=0.2).scaled(2.0) == Habits(stray=1.0, miscount=0.4)
    assert WRITER.scaled(0.0) == FLAWLESS
