"""How answers are judged, and how judgments become pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from iterdpo.config.types import Count, NonNegative, Share, checked


@checked
@dataclass(frozen=True, kw_only=True)
class JudgeConfig:
    """Who judges, by what rubric, and how a score is read."""

    model: Literal["current", "initial"]
    """``current``: the policy of the iteration judges itself. ``initial``: always M0."""
    rubric: str
    """``lab``, ``additive``, or a path to a Jinja file."""
    score: Literal["expected", "sampled"]
    """``expected``: mean over the score tokens' probabilities. ``sampled``: verdicts are written,
    read and averaged."""
    samples: Count
    """Verdicts a candidate, for ``sampled``."""
    temperature: NonNegative
    top_p: Annotated[float, Field(gt=0, le=1)]
    max_tokens: Count
    min_readable: Share
    """With a smaller readable share, a sampled judgment is unscored."""
    min_scored: Share
    """An iteration stops when a smaller share of its answers got a score."""
    min_mass: Share
    """With less probability on the score tokens, an expected judgment is unscored."""
    low: int
    high: int
    system: str | None


@checked
@dataclass(frozen=True, kw_only=True)
class PairsConfig:
    """How judged candidates become preference pairs."""

    strategy: Literal["best_worst", "top_bottom"]
    k: Count
    """Prospective pairs a prompt (1 for ``best_worst``)."""
    min_margin: NonNegative
    """Smallest score difference of a pair."""
    on_empty: Literal["stop", "skip"]
    """When an iteration yields no pair: stop, or keep the policy and go on."""
