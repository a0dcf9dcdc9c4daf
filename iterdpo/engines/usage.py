"""What an engine has spent: tokens and seconds, for a stage's record."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol, Self


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that went through an engine."""

    prompt_tokens: int = 0
    """Read, once for every sample that was drawn after them."""
    cached_prompt_tokens: int = 0
    """Of these, how many the prefix cache held already."""
    generated_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.cached_prompt_tokens + other.cached_prompt_tokens,
            self.generated_tokens + other.generated_tokens,
        )

    def __sub__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens - other.prompt_tokens,
            self.cached_prompt_tokens - other.cached_prompt_tokens,
            self.generated_tokens - other.generated_tokens,
        )


class Metered(Protocol):
    """Anything that counts its tokens."""

    @property
    def usage(self) -> Usage:
        """Everything spent so far."""


class Meter:
    """Measures what an engine spends between ``with`` and its end."""

    def __init__(self, engine: Metered) -> None:
        self._engine = engine
        self.spent = Usage()
        self.seconds = 0.0

    def __enter__(self) -> Self:
        self._before, self._began = self._engine.usage, time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self.spent = self._engine.usage - self._before
        self.seconds = time.monotonic() - self._began

    @property
    def metrics(self) -> dict[str, float | int]:
        """Tokens, and all of them a second (None of it is part of a key)."""
        spent, seconds = self.spent, max(self.seconds, 1e-9)
        return {
            "prompt_tokens": spent.prompt_tokens,
            "cached_prompt_tokens": spent.cached_prompt_tokens,
            "generated_tokens": spent.generated_tokens,
            "tokens_per_second": round((spent.prompt_tokens + spent.generated_tokens) / seconds, 1),
        }
