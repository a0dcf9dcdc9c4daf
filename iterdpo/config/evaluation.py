"""What is measured of every model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from iterdpo.config.types import Count, checked


@checked
@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """What is measured of every model, on prompts that never enter training."""

    oracle: Literal["lab", "none"]
    """An exact score of any answer, where the world has one."""
    prompts: Count
    """Held-out prompts."""
    samples: Count
    """Sampled answers to each, at the candidates' settings."""
    fixed_prompts: Count
    """Held-out prompts whose answers by M0 are the judge's fixed labelled set."""
    fixed_samples: Count
