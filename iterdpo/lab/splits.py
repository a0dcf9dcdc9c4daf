"""Who may see which instruction: four disjoint sets, cut by a hash of the text."""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Final, Literal

from iterdpo.lab.grammar import render, universe

Split = Literal["seed", "loop", "evaluation", "judge"]

_PERCENT: Final[dict[Split, int]] = {"seed": 60, "loop": 20, "evaluation": 10, "judge": 10}


def split_of(instruction: str) -> Split:
    """Return the only split that may use ``instruction``.

    ``seed`` trains the seed model, ``loop`` prompts the loop, ``evaluation`` measures writers and
    ``judge`` measures judges.
    """
    place = int.from_bytes(_digest(instruction)[:8], "big") % 100
    for split, percent in _PERCENT.items():
        if place < percent:
            return split
        place -= percent
    raise AssertionError("the shares of the splits do not add up to 100")


@cache
def instructions(split: Split) -> tuple[str, ...]:
    """Return every instruction of ``split``, kinds mixed, in an order that never changes."""
    texts = (render(task) for task in universe())
    # The digest's tail is independent of the part that chose the split.
    return tuple(
        sorted((t for t in texts if split_of(t) == split), key=lambda text: _digest(text)[8:])
    )


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
