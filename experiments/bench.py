"""Ratios of two things in one run, on the lab's seed model: ``make bench``.

Absolute times of shared machines mean little, so every figure is a ratio: the two sides take turns
and the median of the paired ratios is quoted. The result replaces the marked part of
``docs/benchmarks.md``.
"""

from __future__ import annotations

import argparse
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from hydra import compose, initialize_config_dir

from experiments.page import replaced
from experiments.store_cost import store_share
from iterdpo.assemble import library_versions
from iterdpo.assemble.checkpoint import resolve_checkpoint
from iterdpo.config.choices import build
from iterdpo.config.compose import conf_directory, typed
from iterdpo.engines.base import Completion, Engine, Sampling
from iterdpo.engines.transformers import TransformersEngine, TransformersSettings
from iterdpo.engines.vllm import VllmEngine
from iterdpo.engines.vllm_process import VllmSettings
from iterdpo.evaluation.judge_quality import judge_quality
from iterdpo.judging.asking import groups_of
from iterdpo.judging.rubrics import Rubric
from iterdpo.lab.oracle import score
from iterdpo.lab.splits import instructions
from iterdpo.models.chat_messages import Request
from iterdpo.models.checkpoint import checkpoint_sha256
from iterdpo.models.hardware import vllm_installed
from iterdpo.records import Base, Judgment, Policy, Prompt
from iterdpo.runtime.quiet import quiet_libraries
from iterdpo.stages.base import PrepareBase
from iterdpo.stages.generate import candidate_of
from iterdpo.store.runner import Stages
from iterdpo.store.tables import write_records
from iterdpo.training.spec import DpoSpec, PairExample
from iterdpo.training.train import train
from tests.checkpoints import make_checkpoint

BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"
PAGE = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"
ScoreWay = Literal["expected", "sampled"]
SCORE_WAYS: tuple[ScoreWay, ...] = ("expected", "sampled")
CACHE_GIB = 0.016


@dataclass(frozen=True)
class Comparison:
    """Two ways to do one thing; the figure is seconds of the second over seconds of the first."""

    what: str
    first_name: str
    second_name: str
    first: Callable[[], object]
    second: Callable[[], object]

    def measure(self, rounds: int) -> tuple[float, float, float]:
        """Return (smallest, median, largest) of the paired ratios, after one uncounted turn."""
        self.first(), self.second()
        ratios = [_seconds(self.second) / _seconds(self.first) for _ in range(rounds)]
        return min(ratios), statistics.median(ratios), max(ratios)


class Lab:
    """The lab's M0 with some of its answers: what everything is compared on."""

    def __init__(self, scratch: Path) -> None:
        with initialize_config_dir(str(conf_directory()), version_base="1.3"):
            self.config = typed(compose("config"))
        self.scratch = scratch
        self.settings = TransformersSettings(
            device="cpu", attention=self.config.model.attention, batch_size=256
        )
        self.transformers = TransformersEngine(self.settings)
        self.prompts = [Prompt.of(text, "lab") for text in instructions("judge")[:64]]
        self.requests = [Request.of(prompt.text) for prompt in self.prompts]
        self.sampling = Sampling(n=8, max_tokens=self.config.candidates.max_tokens)
        self.policy = self.policy_of("nf4")
        self.answers = [
            candidate_of(completion, self.prompts[completion.request], self.policy)
            for completion in self.transformers.generate(self.requests, self.policy, self.sampling)
            if isinstance(completion, Completion)
        ]

    def policy_of(self, quantization: str) -> Policy:
        """Return M0 on a base that is quantized in this way."""
        checkpoint = resolve_checkpoint(self.config.model)
        step = PrepareBase(
            checkpoint, checkpoint_sha256(checkpoint), quantization, "float32", False
        )
        return Stages(self.scratch / "store").run(step).value

    def writes(self, engine: Engine) -> Callable[[], object]:
        return lambda: list(engine.generate(self.requests, self.policy, self.sampling))

    def judges(
        self, engine: Engine, score: Literal["expected", "sampled"]
    ) -> Callable[[], list[Judgment]]:
        lab = self.config.judge.choice
        changed = {"score": score, "min_mass": 0.0, "temperature": 0.7, "top_p": 0.9}
        settings = {**lab.settings, **changed, "max_tokens": 32}
        judge = build("judge", replace(lab, settings=settings), engine=engine, seed=0)
        groups = groups_of(self.prompts, self.answers, judge)
        return lambda: list(judge.judge(groups, self.policy))

    def learns(self, quantization: str) -> Callable[[], object]:
        spec = self._spec(self.policy_of(quantization))
        return lambda: train(spec, Path(tempfile.mkdtemp(dir=self.scratch)))

    def accuracy(self, judgments: list[Judgment]) -> float | None:
        """Return the judge's pairwise accuracy by the oracle."""
        texts = {prompt.id: prompt.text for prompt in self.prompts}
        rows: dict[str, list[tuple[float | None, float]]] = {}
        for answer, judgment in zip(self.answers, judgments, strict=True):
            gold = float(score(texts[answer.prompt_id], answer.text))
            rows.setdefault(answer.prompt_id, []).append((judgment.score, gold))
        return judge_quality(list(rows.values())).pairwise_accuracy

    def _spec(self, policy: Policy) -> DpoSpec:
        pairs = [
            PairExample(a.prompt_token_ids, a.token_ids, b.token_ids, a.logprobs, b.logprobs)
            for a, b in zip(self.answers[:256:2], self.answers[1:256:2], strict=True)
        ]
        path = self.scratch / f"{policy.fingerprint}.parquet"
        write_records(path, PairExample, pairs)
        return DpoSpec(
            base=policy.base,
            lora=self.config.model.adapter,
            training=self.config.training,
            policy_adapter=None,
            reference_adapter=None,
            reference_is_start=True,
            examples=str(path),
            seed=0,
            attention=self.config.model.attention,
            trust_remote_code=False,
        )


def comparisons(lab: Lab) -> Iterator[Comparison]:
    """Yield what is compared, one after the other: an engine lives while it is measured."""
    slow, one, three = lab.transformers, "one-token scores", "three sampled verdicts with reasons"
    narrow = TransformersEngine(replace(lab.settings, batch_size=32))
    yield Comparison(
        "judging 512 answers, transformers", one, three,
        lab.judges(slow, "expected"), lab.judges(slow, "sampled"),
    )  # fmt: skip
    yield Comparison(
        "writing 512 answers, transformers", "batches of 256", "batches of 32",
        lab.writes(slow), lab.writes(narrow),
    )  # fmt: skip
    yield Comparison(
        "DPO on 128 pairs", "unquantized base", "NF4 base", lab.learns("none"), lab.learns("nf4")
    )
    if not vllm_installed():
        return
    engine = VllmEngine(VllmSettings(device="cpu"))
    yield Comparison(
        "writing 512 answers", "vLLM", "transformers", lab.writes(engine), lab.writes(slow)
    )
    yield Comparison(
        "judging 512 answers, vLLM", one, three,
        lab.judges(engine, "expected"), lab.judges(engine, "sampled"),
    )  # fmt: skip

    def start_and_write() -> None:
        engine.close()
        lab.writes(engine)()

    yield Comparison(
        "writing 512 answers, vLLM", "one resident engine", "an engine started for the stage",
        lab.writes(engine), start_and_write,
    )  # fmt: skip
    engine.close()
    yield from cache_comparison(lab.scratch)


def cache_comparison(scratch: Path) -> Iterator[Comparison]:
    """Yield judging in the order that shares prefixes against the same requests shuffled."""
    checkpoint = str(make_checkpoint(scratch / "random", "llama"))
    policy = Policy("M0", Base(checkpoint, "0", "none", "float32", checkpoint))
    rubric, rng = Rubric.load("additive"), random.Random(0)
    words = instructions("loop")
    requests = [
        Request.of(rubric.render(question, answer, reasons=False, low=0, high=5))
        for question in (" ".join(words[8 * n : 8 * n + 8]) for n in range(48))
        for answer in rng.sample(words, 8)
    ]
    shuffled = rng.sample(requests, len(requests))
    engine = VllmEngine(VllmSettings(device="cpu", cache_gib=CACHE_GIB))

    def judge(asked: list[Request]) -> Callable[[], object]:
        return lambda: list(engine.choice_logprobs(asked, "012345", policy))

    yield Comparison(
        f"judging 384 answers by the paper's rubric, vLLM, a cache of {CACHE_GIB * 1024:.0f} MiB",
        "by question", "shuffled", judge(requests), judge(shuffled),
    )  # fmt: skip
    engine.close()


def report(rounds: int) -> str:
    """Run every comparison and return the table."""
    versions = library_versions()
    lines = [
        f"`make bench` on {platform.machine()} with {_threads()} threads, torch "
        f"{versions['torch']}, transformers {versions['transformers']}, TRL {versions['trl']}; "
        f"{rounds} paired turns.",
        "",
        "| | first | second | seconds of the second ÷ first, median (range) |",
        "|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as scratch:
        lab = Lab(Path(scratch))
        for item in comparisons(lab):
            low, median, high = item.measure(rounds)
            lines.append(
                f"| {item.what} | {item.first_name} | {item.second_name} "
                f"| {median:.1f} ({low:.1f} … {high:.1f}) |"
            )
            print(lines[-1], flush=True)
        ways = [(way, lab.accuracy(lab.judges(lab.transformers, way)())) for way in SCORE_WAYS]
        share, wall = store_share(Path(scratch))
    shown = ", ".join(f"{value:.3f} `judge.score={way}`" for way, value in ways)
    lines += ["", f"Pairwise accuracy of the two ways to judge these 512 answers: {shown}."]
    lines += [
        "",
        f"The store (hashing, flushing, Parquet, locks, checkpoints) took {100 * share:.1f} % of "
        f"the {wall:.0f} s of one iteration of the lab.",
    ]
    return "\n".join(lines)


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _threads() -> int:
    import torch

    return int(torch.get_num_threads())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5, help="paired turns (%(default)s)")
    parser.add_argument("--page", type=Path, default=PAGE, help="page to write (%(default)s)")
    options = parser.parse_args()
    quiet_libraries()
    table = report(options.rounds)
    print(table)
    options.page.write_text(replaced(options.page.read_text("utf-8"), table, BEGIN, END), "utf-8")


if __name__ == "__main__":
    main()
