"""The k best answers against the k worst: ``best_worst`` (arXiv 2401.10020) k times.

With the n usable answers in falling order, y_(1) ... y_(n):
pair j = (y_(j), y_(n + 1 - j)) for j = 1 ... min(k, floor(n / 2)).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from iterdpo.pairing.base import Ranked, Strategy
from iterdpo.records import Prompt


@dataclass(frozen=True)
class TopBottom(Strategy):
    """Up to ``k`` pairs a prompt, the widest first; no answer stands in two of them."""

    name: ClassVar[str] = "top_bottom"
    version: ClassVar[int] = 1

    k: int

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k={self.k}: must be at least 1")

    def pair(self, prompt: Prompt, ranked: Sequence[Ranked]) -> Sequence[tuple[Ranked, Ranked]]:
        formed = min(self.k, len(ranked) // 2)
        return [(ranked[j], ranked[-1 - j]) for j in range(formed)]
