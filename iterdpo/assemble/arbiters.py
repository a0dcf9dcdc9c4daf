"""Who compares two models' answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from iterdpo.assemble.engines import make_engine
from iterdpo.config.schema import Config
from iterdpo.engines.base import Engine
from iterdpo.evaluation.head_to_head import OracleArbiter
from iterdpo.judging.external import ExternalArbiter
from iterdpo.judging.pairwise import PairwiseJudge
from iterdpo.judging.pairwise_rubrics import PairwiseRubric
from iterdpo.models.checkpoint import checkpoint_sha256, find_checkpoint
from iterdpo.models.prequantized import quantization_of
from iterdpo.records import Base, Policy
from iterdpo.stages.compare import Compare
from iterdpo.store.hash_cache import HashCache
from iterdpo.verifiers.base import Verifier


def make_comparison(config: Config, engine: Engine, oracle: Verifier | None) -> Compare | None:
    """Return the step with the configured arbiter; None where nothing compares."""
    evaluation = config.evaluation
    if evaluation.arbiter == "none":
        return None
    if evaluation.arbiter == "oracle":
        assert oracle is not None
        return Compare(OracleArbiter(oracle), engine)
    rubric = PairwiseRubric.load(evaluation.arbiter_rubric)
    system, mass = config.judge.choice.settings.get("system"), evaluation.arbiter_min_mass
    if evaluation.arbiter == "initial":
        judge = PairwiseJudge(engine, rubric, name="initial", min_mass=mass, system=system)
        return Compare(judge, engine)
    assert evaluation.arbiter_model is not None
    checkpoint = find_checkpoint(evaluation.arbiter_model, None, "evaluation.arbiter_model")
    settings = outside(config, checkpoint)
    own = make_engine(settings)
    dtype, place = config.model.dtype, str(checkpoint)
    held = settings.model.quantization
    hash_file = HashCache(config.store.root).file_sha256
    sha256 = checkpoint_sha256(checkpoint, "evaluation.arbiter_model", hash_file)
    base = Base(place, sha256, held, dtype, dequantized=place)
    asking = PairwiseJudge(own, rubric, name="external", min_mass=mass, system=system)
    return Compare(ExternalArbiter(asking, Policy("external", base), engine), own)


def outside(config: Config, checkpoint: Path) -> Config:
    """Return the settings of an engine that serves ``checkpoint`` as it is, and does not stay."""
    held = quantization_of(checkpoint)
    return replace(
        config,
        model=replace(config.model, path=str(checkpoint), revision=None, quantization=held),
        engine=config.engine.but(serve="dequantized", residency="restart"),
    )
