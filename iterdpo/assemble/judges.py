"""Who judges."""

from __future__ import annotations

from iterdpo.config.schema import Config
from iterdpo.engines.base import Engine
from iterdpo.judging.base import Judge
from iterdpo.judging.judge import JudgeSettings, SelfJudge
from iterdpo.judging.rubrics import Rubric


def make_judge(config: Config, engine: Engine) -> Judge:
    """Return the configured judge."""
    judge = config.judge
    settings = JudgeSettings(
        score=judge.score,
        rubric=judge.rubric,
        samples=judge.samples,
        temperature=judge.temperature,
        top_p=judge.top_p,
        max_tokens=judge.max_tokens,
        min_readable=judge.min_readable,
        min_mass=judge.min_mass,
        low=judge.low,
        high=judge.high,
        system=judge.system,
    )
    return SelfJudge(engine, Rubric.load(judge.rubric), settings, config.seed)
