"""The best answer against the worst (Self-Rewarding Language Models, arXiv 2401.10020).

chosen = argmax of the score, rejected = argmin of the score, over the usable answers y_1 ... y_N.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from iterdpo.pairing.base import Ranked


@dataclass(frozen=True)
class BestWorst:
    """One pair a prompt. Of equal scores, the lowest index is best and the highest is worst."""

    k: ClassVar[int] = 1

    def __call__(self, ranked: Sequence[Ranked]) -> Sequence[tuple[Ranked, Ranked]]:
        return [(ranked[0], ranked[-1])] if len(ranked) >= 2 else []
