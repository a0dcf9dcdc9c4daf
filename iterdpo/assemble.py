"""The one place that turns configuration into objects, and so knows every room."""

from __future__ import annotations

import importlib.metadata
import logging
import platform
from dataclasses import dataclass, replace
from pathlib import Path

from iterdpo.config.schema import Config
from iterdpo.engines.base import Engine, Sampling
from iterdpo.engines.choice import choose_engine, vllm_installed
from iterdpo.engines.loading import declared_context
from iterdpo.engines.memory import (
    ALONE_SHARE,
    MemoryEstimate,
    ModelShape,
    choose_residency,
    engine_bytes,
    engine_share,
    trainer_bytes,
)
from iterdpo.engines.transformers import TransformersEngine, TransformersSettings
from iterdpo.engines.verified import VerifiedEngine
from iterdpo.engines.vllm import VllmEngine, VllmSettings
from iterdpo.errors import UserError
from iterdpo.evaluation.oracles import LabOracle, Oracle
from iterdpo.judging.base import Judge
from iterdpo.judging.judge import JudgeSettings, SelfJudge
from iterdpo.judging.rubrics import Rubric
from iterdpo.pairing.base import Strategy
from iterdpo.pairing.best_worst import BestWorst
from iterdpo.pairing.top_bottom import TopBottom
from iterdpo.prompts.base import PromptSource
from iterdpo.prompts.file import FilePrompts
from iterdpo.prompts.lab import LabPrompts
from iterdpo.recipe import Recipe
from iterdpo.steps.base import PrepareBase
from iterdpo.steps.learning import BuildPairs, JudgeCandidates, Train
from iterdpo.steps.measuring import Measure
from iterdpo.steps.writing import Generate, SelectPrompts
from iterdpo.tracking.base import Guarded, NoTracker, Tracker
from iterdpo.tracking.wandb import WandbTracker
from iterdpo.training.base_model import checkpoint_sha256, quantization_name, resolve_checkpoint

log = logging.getLogger(__name__)

WORTHWHILE_SEQUENCES = 32
"""Answers side by side that an engine beside the trainer should at least have memory for."""

LIBRARIES = ("torch", "transformers", "trl", "peft", "bitsandbytes", "datasets", "accelerate")


@dataclass(frozen=True)
class Assembly:
    """What a run needs besides its store."""

    recipe: Recipe
    engine: VerifiedEngine
    oracle: Oracle | None
    tracker: Tracker


def assemble(config: Config, run_dir: Path, engine: Engine | None = None) -> Assembly:
    """Build everything that ``config`` names.

    Args:
        config: the typed configuration.
        run_dir: where the tracker's files go.
        engine: takes the place of the configured one, in tests and dry runs.

    Raises:
        UserError: a file that the configuration names cannot be used.
    """
    prompts = make_prompts(config)
    verified = VerifiedEngine(engine or make_engine(config))
    oracle = LabOracle() if config.evaluation.oracle == "lab" else None
    recipe = make_recipe(config, verified, prompts, make_judge(config, verified), oracle)
    return Assembly(recipe, verified, oracle, make_tracker(config, run_dir))


def make_recipe(
    config: Config, engine: Engine, prompts: PromptSource, judge: Judge, oracle: Oracle | None
) -> Recipe:
    """Put the steps together."""
    seed, evaluation = config.seed, config.evaluation
    checkpoint = resolve_checkpoint(config.model)
    system = config.prompts.system
    sampling = Sampling(
        n=config.candidates.n,
        temperature=config.candidates.temperature,
        top_p=config.candidates.top_p,
        top_k=config.candidates.top_k,
        max_tokens=config.candidates.max_tokens,
        seed=seed,
    )
    few = replace(sampling, n=evaluation.samples)
    fixed = replace(sampling, n=evaluation.fixed_samples)
    greedy = Sampling(n=1, temperature=0.0, max_tokens=sampling.max_tokens, seed=seed)
    return Recipe(
        base=PrepareBase(
            checkpoint=checkpoint,
            checkpoint_sha256=checkpoint_sha256(checkpoint),
            quantization=quantization_name(config.model),
            dtype=config.model.dtype,
            trust_remote_code=config.model.trust_remote_code,
        ),
        select=SelectPrompts(prompts, "loop", config.prompts.per_iteration, seed),
        held_out=SelectPrompts(prompts, "evaluation", evaluation.prompts, seed),
        labelled=SelectPrompts(prompts, "labelled", evaluation.fixed_prompts, seed),
        generate=Generate(engine, sampling, system, "answers"),
        answer=Generate(engine, few, system, "is evaluated", "answers"),
        answer_greedily=Generate(engine, greedy, system, "is evaluated, greedy", "answers"),
        answer_fixed=Generate(engine, fixed, system, "writes the labelled set", "answers"),
        judge=JudgeCandidates(judge, engine),
        judge_measured=JudgeCandidates(judge, engine, "answer_judgments"),
        build_pairs=make_pairing(config),
        train=Train(
            lora=config.model.adapter,
            training=config.training,
            attention=config.model.attention,
            trust_remote_code=config.model.trust_remote_code,
            seed=seed,
            engine=engine,
            max_engine_gap=config.engine.max_gap if config.engine.serve == "dequantized" else None,
        ),
        measure=Measure(oracle),
        judge_model=config.judge.model,
        reference=config.training.reference,
        on_empty=config.pairs.on_empty,
        min_scored=config.judge.min_scored,
    )


def make_engine(config: Config) -> Engine:
    """Return the configured engine and say which it is and why. No model is loaded yet."""
    import torch

    if config.engine.threads is not None:
        torch.set_num_threads(config.engine.threads)
    engine, model = config.engine, config.model
    cuda = engine.device != "cpu" and torch.cuda.is_available()
    choice = choose_engine(engine.name, vllm=vllm_installed(), cuda=cuda, dtype=model.dtype)
    estimate = estimate_memory(config) if cuda else None
    residency = engine.residency
    if residency == "auto":
        residency = choose_residency(estimate) if cuda else "resident"
    if (choice.name, residency, cuda) == ("vllm", "sleep", False):
        raise UserError("engine.residency=sleep: vLLM sleeps on CUDA only; use resident or restart")
    log.info("engine: %s (%s), %s while training", choice.name, choice.why, residency)
    if estimate is not None:
        log.info("memory: %s", estimate.describe())
    if choice.name == "transformers":
        return TransformersEngine(
            TransformersSettings(
                device=engine.device,
                dtype=model.dtype,
                batch_size=engine.batch_size,
                part_rows=engine.part_rows,
                attention=model.attention,
                context=model.context,
                trust_remote_code=model.trust_remote_code,
                serve=engine.serve,
                residency=residency,
            )
        )
    return VllmEngine(
        VllmSettings(
            device=engine.device,
            dtype=model.dtype,
            context=model.context,
            trust_remote_code=model.trust_remote_code,
            serve=engine.serve,
            residency=residency,
            part_rows=engine.part_rows,
            lora_rank=model.adapter.rank,
            max_sequences=engine.max_sequences,
            tensor_parallel=engine.tensor_parallel,
            memory_share=engine.memory_share
            or (engine_share(estimate) if residency == "resident" else ALONE_SHARE),
            cache_gib=engine.cache_gib,
            eager=engine.eager,
        )
    )


def estimate_memory(config: Config) -> MemoryEstimate | None:
    """Return what engine and trainer need of the first GPU, or None for an unknown model."""
    import torch

    model, training = config.model, config.training
    checkpoint = resolve_checkpoint(model)
    shape, declared = ModelShape.at(checkpoint), declared_context(str(checkpoint))
    if shape is None or declared is None:
        return None
    size = 4 if model.dtype == "float32" else 2
    context = min(declared, model.context or declared)
    length = min(context, training.max_length or context)
    # What does not fit into the cache waits, so a full batch is no condition for staying.
    sequences = min(config.engine.max_sequences, WORTHWHILE_SEQUENCES)
    return MemoryEstimate(
        card=torch.cuda.get_device_properties(0).total_memory,
        engine=engine_bytes(shape, size, context, sequences),
        trainer=trainer_bytes(
            shape,
            quantization_name(model),
            size,
            model.adapter.rank,
            training.micro_batch_size,
            length,
            training.gradient_checkpointing,
            eager_attention=model.attention == "eager",
        ),
    )


def make_prompts(config: Config) -> PromptSource:
    """Return the configured source of prompts; a file is read and checked at once."""
    if config.prompts.source == "lab":
        return LabPrompts()
    assert config.prompts.path is not None
    return FilePrompts(config.prompts.path, config.prompts.field, config.prompts.held_out_share)


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


def make_pairing(config: Config) -> BuildPairs:
    """Return the step with the configured strategy."""
    pairs = config.pairs
    strategy: Strategy = BestWorst() if pairs.strategy == "best_worst" else TopBottom(pairs.k)
    return BuildPairs(strategy, pairs.strategy, pairs.k, pairs.min_margin)


def make_tracker(config: Config, run_dir: Path) -> Tracker:
    """Return the configured tracker. Its failures never stop a run."""
    tracking = config.tracking
    if tracking.name == "none":
        return NoTracker()
    return Guarded(
        WandbTracker(
            run_dir,
            project=tracking.project,
            entity=tracking.entity,
            mode=tracking.mode,
            group=tracking.group,
            tags=tracking.tags,
        )
    )


def library_versions() -> dict[str, str]:
    """Return the versions of what computes results, Python included."""
    versions = {name: importlib.metadata.version(name) for name in LIBRARIES}
    return {"python": platform.python_version(), **versions}
