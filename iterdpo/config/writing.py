"""Prompts, and how they are answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from iterdpo.config.choices import Choice
from iterdpo.config.types import Count, Positive, checked


@checked
@dataclass(frozen=True, kw_only=True)
class PromptsConfig:
    """Where instructions come from."""

    choice: Choice
    """A ``prompts.base.PromptSource``."""
    per_iteration: Count
    """New prompts an iteration."""
    system: str | None
    """System message put before every prompt."""


@checked
@dataclass(frozen=True, kw_only=True)
class CandidatesConfig:
    """How the policy answers in the loop; evaluation samples at the same settings."""

    n: Annotated[int, Field(ge=2)]
    """Answers a prompt."""
    temperature: Positive
    top_p: Annotated[float, Field(gt=0, le=1)]
    top_k: Annotated[int, Field(ge=0)]
    """0 switches it off."""
    max_tokens: Count
    """Longest answer; one that reaches it counts as truncated."""
