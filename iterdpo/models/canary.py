"""What tells two policies apart: the texts whose log-probabilities a training changed."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CANARY_FILE = "canary.json"


@dataclass(frozen=True, slots=True)
class CanaryText:
    """A text under the new policy and the one before. Values are in nats, one a token."""

    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    before: tuple[float, ...]
    """The trainer's log p under the policy that training started from."""
    after: tuple[float, ...]
    """The trainer's under the trained policy."""
    engine: tuple[float, ...]
    """The engine's own under the policy that training started from."""

    @property
    def moved(self) -> float:
        """How far training moved the whole text, in nats."""
        return math.fsum(self.after) - math.fsum(self.before)


@dataclass(frozen=True, slots=True)
class Canary:
    """The texts that tell two policies apart, and how far engine and trainer disagree anyway."""

    texts: tuple[CanaryText, ...]
    noise: float
    """Largest |engine - trainer| log-prob of a text seen on the starting policy, in nats."""
    floor: float
    """Least standard deviation of (engine - trainer) that is counted on, in nats a token."""
    groups: int
    """Texts ``i`` and ``i + groups`` are alike: 2 where chosen and rejected answers take turns."""

    @classmethod
    def read(cls, path: Path) -> Canary:
        values: dict[str, Any] = json.loads(path.read_text("utf-8"))
        texts = tuple(
            CanaryText(**{name: tuple(items) for name, items in text.items()})
            for text in values["texts"]
        )
        return cls(texts, values["noise"], values["floor"], values["groups"])
