"""What tells two policies apart: texts on which a training changed the log-probabilities most."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CANARY_FILE = "canary.json"


@dataclass(frozen=True, slots=True)
class CanaryText:
    """A text on which the new policy and the one before differ, as the trainer measured it."""

    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    before: float
    """log p under the policy that training started from, in nats."""
    after: float
    """log p under the trained policy."""


@dataclass(frozen=True, slots=True)
class Canary:
    """The texts that tell two policies apart, and how far engine and trainer disagree anyway."""

    texts: tuple[CanaryText, ...]
    noise: float
    """Largest |engine - trainer| log-prob seen on the starting policy, in nats."""

    @classmethod
    def read(cls, path: Path) -> Canary:
        values: dict[str, Any] = json.loads(path.read_text("utf-8"))
        texts = tuple(
            CanaryText(tuple(t["prompt_ids"]), tuple(t["token_ids"]), t["before"], t["after"])
            for t in values["texts"]
        )
        return cls(texts, values["noise"])
