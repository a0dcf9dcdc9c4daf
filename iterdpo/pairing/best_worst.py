"""The best answer against the worst (Self-Rewarding Language Models, arXiv 2401.10020).

chosen = argmax of the score, rejected = argmin of the score, over the usable answers y_1 ... y_N.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from iterdpo.pairing.base import Ranked, Strategy
from iterdpo.records import Prompt


@dataclass(frozen=True)
class BestWorst(Strategy):
    """One pair a prompt. Of equal scores, the lowest index is best and the highest is worst."""

    name: ClassVar[str] = "best_worst"
    version: ClassVar[int] = 1
    k: int = field(default=1, init=False)

    def pair(self, prompt: Prompt, ranked: Sequence[Ranked]) -> Sequence[tuple[Ranked, Ranked]]:
        return [(ranked[0], ranked[-1])] if len(ranked) >= 2 else []
