"""The stages of one iteration, assembled from the configuration and measured one by one."""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from hydra import compose, initialize_config_dir

from experiments.bench_gpu_report import Row
from experiments.meters import Peak, free_memory, own_memory, require_disk_space, step_times
from experiments.random_checkpoint import CONTEXT, SHAPES, make_checkpoint, words
from experiments.roofline import (
    Card,
    Writing,
    reading_seconds,
    training_seconds,
    writing_seconds,
)
from iterdpo.assemble import (
    library_versions,
    make_engine,
    make_judge,
    make_prompts,
    make_recipe,
)
from iterdpo.config.choices import build
from iterdpo.config.compose import conf_directory, typed
from iterdpo.config.schema import Config
from iterdpo.engines.base import Sampling
from iterdpo.engines.placement import Sizes
from iterdpo.engines.verified import VerifiedEngine
from iterdpo.errors import UserError
from iterdpo.models.chat_messages import Request
from iterdpo.models.memory import GIB
from iterdpo.pairing.base import build_pairs
from iterdpo.recipe import Recipe
from iterdpo.records import Candidate, FinishReason, Judgment, Policy
from iterdpo.stages.base import Candidates, Judgments, Metrics, Pairs, Prompts
from iterdpo.stages.judge import JudgeCandidates
from iterdpo.stages.pairs import BuildPairs
from iterdpo.store.runner import Stages
from iterdpo.store.stage import Stage, Stored, Work

Write = Stage[[Prompts, Stored[Policy]], tuple[Candidate, ...]]
Judge = Stage[[Prompts, Candidates, Stored[Policy]], tuple[Judgment, ...]]

VERDICTS = 3
RUBRIC_ROOM = 1024
"""Tokens of context for the rubric and the marks of a chat."""


def tokens_of(stored: Stored[Any]) -> dict[str, int]:
    """Return what a stage's engine read and wrote, in tokens."""
    return cast("dict[str, int]", stored.metrics["engine"])


class ForcedPairs(BuildPairs):
    """Pairs of answers that all ran into the limit, as forced lengths make them."""

    def compute(
        self, work: Work, prompts: Prompts, candidates: Candidates, judgments: Judgments
    ) -> Metrics:
        ended = tuple(replace(c, finish_reason=FinishReason.STOP) for c in candidates.value)
        made = build_pairs(prompts.value, ended, judgments.value, self.strategy, self.min_margin)
        return self.keep(work, made)


@dataclass(frozen=True)
class Bench:
    """One engine's run over every stage of an iteration."""

    options: argparse.Namespace
    scratch: Path
    card: Card | None
    report: Callable[[Row], None]

    def run(self) -> None:
        """Go through the stages; each is reported as it ends."""
        options, shape = self.options, SHAPES[self.options.shape]
        dtype = "bfloat16" if options.device == "cuda" else "float32"
        size = 2 if dtype == "bfloat16" else 4
        weights = shape.parameters * size
        require_disk_space(self.scratch, 2 * weights + GIB)
        with self.timed("weights are made", note=f"{weights / GIB:.1f} GiB"):
            make_checkpoint(self.scratch / "model", shape, dtype, options.device)
        config = self.configuration(dtype)
        with self.timed("checkpoint is hashed"):
            engine = VerifiedEngine(make_engine(config))
            judge = make_judge(config, engine)
            pairing = ForcedPairs(build("pairs", config.pairs.choice), config.pairs.min_margin)
            recipe = make_recipe(config, engine, make_prompts(config), judge, None, pairing)
        stages = Stages(config.store.root, library_versions())
        with self.timed("base is quantized, its image saved"):
            m0 = stages.run(recipe.base)
        with self.timed("engine starts"):
            list(engine.generate([Request.of("w0")], m0.value, Sampling(max_tokens=2)))
        prompts = stages.run(recipe.select, 1)
        answers = self.write(stages, recipe.generate, prompts, m0)
        judgments = self.judge_by_scores(stages, recipe.judge, prompts, answers, m0)
        self.judge_in_words(stages, config, engine, prompts, answers, m0)
        pairs = stages.run(recipe.build_pairs, prompts, answers, judgments)
        if not pairs.value.kept:
            raise UserError(f"no pair to train on: {dict(pairs.value.dropped)}")
        m1 = self.train(stages, config, recipe, m0, pairs, answers)
        with self.timed("M1 proves itself"):
            engine.verify(m1.value)
        self.write(stages, recipe.generate, prompts, m1)
        engine.close()

    def configuration(self, dtype: str) -> Config:
        """Return what the stages are assembled from: the presets for a model of one's own."""
        o, rng = self.options, random.Random(0)
        vocabulary = [word for word in words(SHAPES[o.shape]) if word.startswith("w")]
        texts = [" ".join(rng.choices(vocabulary, k=o.prompt_tokens)) for _ in range(3 * o.prompts)]
        file = self.scratch / "prompts.txt"
        file.write_text("\n".join(texts) + "\n", "utf-8")
        context = min(CONTEXT, o.prompt_tokens + o.tokens + o.verdict_tokens + RUBRIC_ROOM)
        overrides = [
            "experiment=own_model", f"model.path={self.scratch / 'model'}", f"model.dtype={dtype}",
            "model.attention=sdpa", f"model.context={context}", f"prompts.path={file}",
            f"prompts.per_iteration={o.prompts}", f"candidates.n={o.candidates}",
            f"candidates.max_tokens={o.tokens}", f"engine={o.engine}", f"engine.device={o.device}",
            f"engine.transformers.batch_size={o.batch_size}",
            f"engine.vllm.max_sequences={o.batch_size}",
            "engine.max_gap=null", "judge.score=expected", "judge.min_mass=0.0",
            f"judge.samples={VERDICTS}", f"judge.max_tokens={o.verdict_tokens}",
            "pairs=top_bottom", f"pairs.k={o.pairs}", "pairs.min_margin=0.0",
            f"training.micro_batch_size={o.micro_batch}", f"training.max_length={context}",
            f"training.gradient_checkpointing={o.checkpointing}",
            "tracking=none", f"store.root={self.scratch / 'store'}",
        ]  # fmt: skip
        with initialize_config_dir(str(conf_directory()), version_base="1.3"):
            return typed(compose("config", overrides=overrides))

    def write(
        self, stages: Stages, step: Write, prompts: Prompts, policy: Stored[Policy]
    ) -> Candidates:
        """Let a policy answer all prompts."""
        with self.timed(f"{policy.value.name} writes") as done:
            answers = stages.run(step, prompts, policy)
            lengths = {len(answer.token_ids) for answer in answers.value}
            if lengths != {self.options.tokens}:
                raise RuntimeError(f"answers of {sorted(lengths)} tokens were written")
            work, done.tokens, done.note = self.work_of(answers, len(answers.value))
            done.bound = self.bound(writing_seconds, work)
        return answers

    def judge_by_scores(
        self,
        stages: Stages,
        step: Judge,
        prompts: Prompts,
        answers: Candidates,
        policy: Stored[Policy],
    ) -> Judgments:
        """Let M0 judge with one forward pass an answer."""
        with self.timed("M0 judges by one-token scores") as done:
            judgments = stages.run(step, prompts, answers, policy)
            work, _, done.note = self.work_of(judgments, len(judgments.value))
            done.tokens = tokens_of(judgments)["prompt_tokens"]
            done.bound = self.bound(reading_seconds, work)
        return judgments

    def judge_in_words(
        self,
        stages: Stages,
        config: Config,
        engine: VerifiedEngine,
        prompts: Prompts,
        answers: Candidates,
        policy: Stored[Policy],
    ) -> None:
        """Let M0 judge with written verdicts."""
        choice = config.judge.choice
        sampled = replace(choice, settings={**choice.settings, "score": "sampled"})
        other = replace(config, judge=replace(config.judge, choice=sampled))
        step = JudgeCandidates(make_judge(other, engine), engine)
        with self.timed(f"M0 judges by {VERDICTS} verdicts with reasons") as done:
            judgments = stages.run(step, prompts, answers, policy)
            rows = VERDICTS * len(judgments.value)
            work, done.tokens, done.note = self.work_of(judgments, rows)
            done.bound = self.bound(writing_seconds, work)

    def train(
        self,
        stages: Stages,
        config: Config,
        recipe: Recipe,
        m0: Stored[Policy],
        pairs: Pairs,
        answers: Candidates,
    ) -> Stored[Policy]:
        """Train M1; the optimizer's steps after the first, which holds the proofs, count apart."""
        count, training, lora = len(pairs.value.kept), config.training, config.model.adapter
        assert lora is not None
        estimate = None
        if self.options.device == "cuda":
            sizes = Sizes.of(config.model, recipe.base.checkpoint)
            if sizes is not None:
                estimate = sizes.estimate([training], "vllm", self.options.batch_size)
        with self.timed("M1 is trained") as done, step_times() as times:
            held = own_memory(reset=True)
            m1 = stages.run(recipe.train, 1, m0, m0, pairs, answers)
            largest = m1.metrics["engine_gap"]
            assert isinstance(largest, float)
            gap = largest / self.options.tokens
            done.note = f"{count} pairs; engine and trainer differ by {gap:.1g} nats a token"
            if estimate is not None:
                took = (own_memory() - held) / GIB
                done.note += f"; trainer {took:.1f} GiB, estimated {estimate.trainer / GIB:.1f} GiB"
        if len(times) > 1:
            sequences = 2 * (min(len(times) * training.batch_size, count) - training.batch_size)
            prompt, answer = len(answers.value[0].prompt_token_ids), self.options.tokens
            bound = None
            if self.card is not None:
                bound = training_seconds(
                    SHAPES[self.options.shape], self.card, sequences, prompt, answer,
                    lora.rank, checkpointing=training.gradient_checkpointing,
                )  # fmt: skip
            self.report(
                Row(
                    "of it, the optimizer's steps after the first",
                    times[-1] - times[0], sequences * (prompt + answer), bound,
                )
            )  # fmt: skip
        return m1

    def work_of(self, stored: Stored[Any], rows: int) -> tuple[Writing, int, str]:
        """Return what a stage's engine did, how many tokens it wrote, and what it was spared."""
        spent = tokens_of(stored)
        asked, cached = spent["prompt_tokens"], spent["cached_prompt_tokens"]
        written = spent["generated_tokens"]
        work = Writing(
            rows=rows,
            width=min(rows, self.options.batch_size),
            prompt=asked / rows,
            written=max(1, written / rows),
            read=asked - cached,
        )
        note = f"{100 * cached / asked:.0f} % of the prompts from the cache" if cached else ""
        return work, written, note

    def bound(self, seconds: Callable[..., float], work: Writing) -> float | None:
        """Return the shortest seconds of a stage on this card, if its peaks are known."""
        if self.card is None:
            return None
        return seconds(SHAPES[self.options.shape], self.card, 2, work)

    @contextmanager
    def timed(self, stage: str, note: str = "") -> Iterator[Any]:
        """Measure a stage and report it. What is set on the yielded object is reported too."""
        free_memory()
        done = SimpleNamespace(tokens=None, bound=None, note=note)
        with Peak(self.options.device == "cuda") as peak:
            began = time.perf_counter()
            yield done
            seconds = time.perf_counter() - began
        self.report(Row(stage, seconds, done.tokens, done.bound, peak.bytes, done.note))
