"""The configuration's schema. Values live in ``conf/``; these modules say what they may be.

Every field is required: a default belongs in YAML, where a user sees it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from iterdpo.config.evaluation import EvaluationConfig
from iterdpo.config.health import HealthConfig
from iterdpo.config.hub import HubConfig
from iterdpo.config.judging import JudgeConfig, PairsConfig
from iterdpo.config.model import EngineConfig, ModelConfig
from iterdpo.config.running import StoreConfig, TrackingConfig
from iterdpo.config.sft import SftConfig
from iterdpo.config.training import TrainingConfig
from iterdpo.config.types import Count, Seed, checked
from iterdpo.config.writing import CandidatesConfig, PromptsConfig
from iterdpo.settings import Keyless


@checked
@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything a run is told."""

    iterations: Count
    seed: Seed
    plan: Annotated[bool, Keyless("looks, and runs nothing")]
    """Print what each stage would do, and why, and run nothing."""
    report: Annotated[bool, Keyless("writes a page")]
    """Write ``report.html`` into the run's directory, after every iteration."""
    model: ModelConfig
    prompts: PromptsConfig
    candidates: CandidatesConfig
    engine: EngineConfig
    judge: JudgeConfig
    pairs: PairsConfig
    sft: SftConfig
    training: TrainingConfig
    evaluation: EvaluationConfig
    health: HealthConfig
    tracking: Annotated[TrackingConfig, Keyless("where metrics go, and what is shown there")]
    hub: Annotated[HubConfig, Keyless("what is uploaded, and where to")]
    store: Annotated[StoreConfig, Keyless("place")]
