"""Prompts, and how they are answered."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from iterdpo.config.types import Count, Positive, checked


@checked
@dataclass(frozen=True, kw_only=True)
class PromptsConfig:
    """Where instructions come from."""

    source: Literal["lab", "file"]
    path: Path | None
    """File of prompts (JSONL, JSON, CSV, Parquet or text), for ``source: file``."""
    field: str
    """Column that holds the prompt, for ``source: file``."""
    held_out_share: Annotated[float, Field(gt=0, lt=1)]
    """Share of a file's prompts that is kept for evaluation and never trained on."""
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
