"""The steps of the loop."""

from __future__ import annotations

from dataclasses import replace

from iterdpo.assemble.arbiters import make_comparison
from iterdpo.assemble.checkpoint import resolve_checkpoint
from iterdpo.assemble.prompts import make_select
from iterdpo.assemble.sft import make_sft
from iterdpo.config.schema import Config
from iterdpo.engines.base import Engine, Sampling
from iterdpo.errors import UserError
from iterdpo.judging.base import Judge
from iterdpo.models.checkpoint import checkpoint_sha256
from iterdpo.models.prequantized import Packing, checkpoint_problem
from iterdpo.pairing.base import Pairing
from iterdpo.prompts.base import PromptSource
from iterdpo.recipe import Recipe
from iterdpo.stages import names
from iterdpo.stages.base import Candidates, Judgments, PrepareBase, Prompts
from iterdpo.stages.evaluate import EvaluatePolicy
from iterdpo.stages.gains import MeasureAgreement, MeasureBaselines, MeasureGains
from iterdpo.stages.generate import Generate, SelectPrompts
from iterdpo.stages.head_to_head import CountComparisons, Rate
from iterdpo.stages.health import CheckHealth
from iterdpo.stages.judge import JudgeCandidates
from iterdpo.stages.oracle_scores import ScoreByOracle
from iterdpo.stages.pair_quality import MeasurePairs
from iterdpo.stages.sft import Merge
from iterdpo.stages.train import Train
from iterdpo.store.hash_cache import HashCache
from iterdpo.store.stage import Stage
from iterdpo.verifiers.base import Verifier


def make_base(config: Config) -> PrepareBase:
    """Return the stage that makes the configured checkpoint ready.

    Raises:
        UserError: the checkpoint is not there, or is not quantized as the configuration says.
    """
    checkpoint = resolve_checkpoint(config.model)
    packing = Packing.at(checkpoint)
    if problem := checkpoint_problem(config.model.quantization, packing, config.model.path):
        raise UserError(problem)  # only now is a checkpoint of the hub there to be looked at
    hash_file = HashCache(config.store.root).file_sha256
    return PrepareBase(
        checkpoint=checkpoint,
        checkpoint_sha256=checkpoint_sha256(checkpoint, "model.path", hash_file),
        quantization=config.model.scheme,
        dtype=config.model.dtype,
        trust_remote_code=config.model.trust_remote_code,
    )


def make_recipe(
    config: Config,
    engine: Engine,
    prompts: PromptSource,
    judge: Judge,
    oracle: Verifier | None,
    build_pairs: Stage[[Prompts, Candidates, Judgments], Pairing],
) -> Recipe:
    """Put the steps together."""
    seed, evaluation, training = config.seed, config.evaluation, config.training
    base = make_base(config)
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
    reference = replace(sampling, n=evaluation.reference_samples)
    measured = oracle or evaluation.arbiter != "none"
    cooled = evaluation.baseline_temperatures if measured else ()
    baselines = [replace(few, temperature=temperature) for temperature in cooled]
    scale = judge.scale
    greedy = Sampling(n=1, temperature=0.0, max_tokens=sampling.max_tokens, seed=seed)
    return Recipe(
        base=base,
        select=make_select(config, engine, prompts),
        held_out=SelectPrompts(prompts, "evaluation", evaluation.prompts, seed),
        reference_prompts=SelectPrompts(
            prompts, "judge_reference", evaluation.reference_prompts, seed
        ),
        generate=Generate(engine, sampling, system, "answers"),
        answer=Generate(engine, few, system, "is evaluated", names.ANSWERS),
        answer_greedily=Generate(engine, greedy, system, "is evaluated, greedy", names.ANSWERS),
        answer_reference=Generate(
            engine, reference, system, "writes the reference set", names.ANSWERS
        ),
        judge=JudgeCandidates(judge, engine),
        judge_measured=JudgeCandidates(judge, engine, names.ANSWER_JUDGMENTS),
        build_pairs=build_pairs,
        tune=make_sft(config, engine, str(base.checkpoint), prompts, judge),
        merge=Merge(engine, config.model.trust_remote_code)
        if config.sft.method == "merged"
        else None,
        train=Train(
            lora=config.model.adapter,
            training=training,
            attention=config.model.attention,
            trust_remote_code=config.model.trust_remote_code,
            seed=seed,
            engine=engine,
            max_engine_gap=config.engine.max_gap if config.engine.serve == "dequantized" else None,
        ),
        evaluate=EvaluatePolicy(oracle, scale),
        score=ScoreByOracle(oracle) if oracle else None,
        compare=make_comparison(config, engine, oracle),
        count_comparisons=CountComparisons(ordered=evaluation.arbiter != "oracle"),
        rate=Rate(),
        measure_pairs=MeasurePairs(),
        measure_baselines=MeasureBaselines(),
        measure_gains=MeasureGains(),
        measure_agreement=MeasureAgreement(),
        baselines=tuple(
            Generate(engine, cooler, system, "is evaluated, cooler", names.ANSWERS)
            for cooler in baselines
        ),
        check=CheckHealth(config.health, scale),
        arbiter=evaluation.arbiter,
        on_alarm=config.health.on_alarm,
        judge_model=judge.judged_by,
        # Without one, the loop's trainings are given the start, and leave it.
        reference="previous" if training.reference == "none" else training.reference,
        on_empty=config.pairs.on_empty,
        min_scored=config.judge.min_scored,
    )
