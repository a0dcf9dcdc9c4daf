"""Log-probs of whole texts, where engines and trainers give one a token."""

from __future__ import annotations

import math
from collections.abc import Iterable


def sums(values: Iterable[Iterable[float]]) -> list[float]:
    """Return log p of each text, in nats."""
    return [math.fsum(text) for text in values]
