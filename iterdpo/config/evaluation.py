"""What is measured of every model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from iterdpo.config.choices import Choice
from iterdpo.config.types import Count, Positive, Share, Source, checked


@checked
@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """What is measured of every model, on prompts that never enter training."""

    oracle: Choice | None
    """An ``evaluation.Verifier``, which scores any answer exactly; null where there is none."""
    prompts: Count
    """Held-out prompts."""
    samples: Count
    """Sampled answers to each, at the candidates' settings."""
    reference_prompts: Count
    """Held-out prompts of the judge reference set: M0 answers them, and every judge scores these
    answers."""
    reference_samples: Count
    """M0's answers to each of them."""
    baseline_temperatures: tuple[Positive, ...]
    """M0 also answers at each of these, below the candidates' own: what sharpening alone would
    gain, without any training. The oracle scores them; an ``arbiter`` that is none compares every
    model with each, and the greedy answers of both. Not read without one of the two."""
    arbiter: Literal["oracle", "initial", "external", "none"]
    """Who compares a model's answers with M0's and with those of the model before, always the same:
    ``oracle``, exact scores; ``initial``, M0, asked in both orders; ``external``, another
    checkpoint, likewise; ``none``."""
    arbiter_model: Source | None
    """A checkpoint directory or a hub id, for ``external``. It is loaded for the comparisons alone,
    unquantized, in ``model.dtype``; the run's engine gives its memory back meanwhile."""
    arbiter_rubric: str
    """What ``initial`` and ``external`` are asked: ``better``, or the path of a Jinja file with
    ``prompt``, ``first`` and ``second``."""
    arbiter_min_mass: Share
    """With less probability on the two choices, an order counts as unscored."""
