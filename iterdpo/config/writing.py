"""Prompts, and how they are answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from iterdpo.config.data import DatasetConfig
from iterdpo.config.types import Count, NonNegative, Positive, checked


@checked
@dataclass(frozen=True, kw_only=True)
class SelfInstructConfig:
    """How M0 writes new instructions after examples (arXiv 2212.10560, 2401.10020)."""

    shots: Count
    """Examples in each request."""
    written_shots: Annotated[int, Field(ge=0)]
    """Of these, how many were written by M0 itself, once there are as many."""
    asked: Count
    """New instructions that a request asks for."""
    temperature: NonNegative
    top_p: Annotated[float, Field(gt=0, le=1)]
    max_tokens: Count
    """Longest answer to a request; the instruction that it is cut off in is dropped."""
    max_similarity: Annotated[float, Field(gt=0, le=1)]
    """An instruction is dropped when its ROUGE-L to any other, held-out ones included, reaches
    this."""
    min_words: Count
    max_words: Count
    keywords: tuple[str, ...]
    """Words and phrases of tasks that a text model cannot do."""
    ascii_start: bool
    """Drop instructions that begin with a character outside ASCII."""
    max_tries: Annotated[float, Field(ge=1)]
    """After how many requests an iteration gives up, as a multiple of the fewest that could do. The
    round at hand is finished, so this changes nothing of what is written."""


@checked
@dataclass(frozen=True, kw_only=True)
class PromptsConfig:
    """Where instructions come from."""

    source: Literal["lab", "file", "dataset", "self_instruct", "pairs"]
    """``self_instruct``: what ``path`` holds are examples, after which M0 writes the prompts.
    ``pairs``: with ``pairs=dataset``, evaluation asks prompts of these pairs that are held out."""
    path: str | None
    """File of prompts (JSONL, JSON, CSV, Parquet or text); with ``dataset`` also a directory or a
    hub id."""
    field: str
    """Column that holds the prompt."""
    held_out_share: Annotated[float, Field(gt=0, lt=1)]
    """Share of the prompts that is kept for evaluation and never trained on."""
    per_iteration: Count
    """New prompts an iteration."""
    system: str | None
    """System message put before every prompt."""
    dataset: DatasetConfig | None
    """How a dataset's rows become prompts; null reads ``field`` of every row of a file."""
    self_instruct: SelfInstructConfig | None


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
