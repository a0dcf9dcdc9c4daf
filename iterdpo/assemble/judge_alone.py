"""A judge without a run around it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from iterdpo.assemble.engines import make_engine
from iterdpo.assemble.hardware import resolved
from iterdpo.assemble.judges import make_judge
from iterdpo.assemble.recipe import make_base
from iterdpo.config.schema import Config
from iterdpo.engines.base import Engine
from iterdpo.engines.verified import VerifiedEngine
from iterdpo.judging.base import Judge
from iterdpo.stages.base import PrepareBase


@dataclass(frozen=True)
class JudgeAlone:
    """A judge, the checkpoint that judges where it asks a policy, and the store's root."""

    judge: Judge
    engine: VerifiedEngine
    base: PrepareBase
    store: Path


def judge_alone(config: Config, engine: Engine | None = None) -> JudgeAlone:
    """Build the configured judge. No model is loaded yet.

    Raises:
        UserError: what the configuration names is not there, or not possible on this machine.
    """
    config = resolved(config)
    verified = VerifiedEngine(engine or make_engine(config))
    return JudgeAlone(make_judge(config, verified), verified, make_base(config), config.store.root)
