"""How a stage asks a judge: what it gets in one call, and whose memory it may have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby

from iterdpo.engines.base import Engine
from iterdpo.judging.base import Judge
from iterdpo.records import Candidate


def units_of(candidates: Sequence[Candidate], judge: Judge) -> list[list[Candidate]]:
    """Return the candidates in the groups that no call may part, in their order.

    A judge that compares gets the answers to a prompt together; any other takes them one by one.

    Raises:
        ValueError: the answers to a prompt do not stand together, and the judge compares.
    """
    if not judge.by_prompt:
        return [[candidate] for candidate in candidates]
    units = [list(group) for _, group in groupby(candidates, lambda item: item.prompt_id)]
    if len({unit[0].prompt_id for unit in units}) < len(units):
        raise ValueError("the answers to a prompt do not stand together")
    return units


def part_units(units: Sequence[Sequence[Candidate]], judge: Judge) -> int:
    """Return how many units to ask for and keep together, 1 or more."""
    return max(1, judge.part_rows // max(map(len, units), default=1))


@contextmanager
def room_for(judge: Judge, engine: Engine) -> Iterator[None]:
    """Let a judge's own model have the engine's memory for the block, and give it back after."""
    if judge.holds_model:
        engine.sleep()
    try:
        yield
    finally:
        judge.close()
    if judge.holds_model:
        engine.wake()
