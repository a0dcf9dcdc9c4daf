"""Ratios of two things in one run, on the lab's seed model: ``make bench``.

Absolute times of shared machines mean little, so every figure is a ratio: the two sides take turns
and the median of the paired ratios is quoted. The result replaces the marked part of
``docs/benchmarks.md``.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir

from iterdpo.assemble import library_versions
from iterdpo.command import conf_directory, typed
from iterdpo.engines.base import Request, Sampling
from iterdpo.engines.transformers import TransformersEngine, TransformersSettings
from iterdpo.judging.judge import JudgeSettings, SelfJudge
from iterdpo.judging.rubrics import Rubric
from iterdpo.quiet import quiet_libraries
from iterdpo.records import Candidate, Policy, Prompt
from iterdpo.steps.base import PrepareBase
from iterdpo.steps.writing import candidate_of
from iterdpo.store.stages import Stages
from iterdpo.store.tables import write_records
from iterdpo.training.base_model import checkpoint_sha256, resolve_checkpoint
from iterdpo.training.dpo import train
from iterdpo.training.spec import Example, TrainSpec

BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"
PAGE = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"


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


def comparisons(scratch: Path) -> list[Comparison]:
    """Set up the lab's M0 with some of its answers, and everything that is compared on them."""
    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        config = typed(compose("config"))
    checkpoint = resolve_checkpoint(config.model)
    policies = {}
    for quantization in ("nf4", "none"):
        step = PrepareBase(
            checkpoint, checkpoint_sha256(checkpoint), quantization, "float32", False
        )
        policies[quantization] = Stages(scratch / "store").run(step).value
    policy = policies["nf4"]
    settings = TransformersSettings(device="cpu", attention=config.model.attention)
    engine = TransformersEngine(replace(settings, batch_size=256))
    narrow = TransformersEngine(replace(settings, batch_size=32))
    prompts = _prompts(64)
    requests = [Request.of(prompt.text) for prompt in prompts]
    sampling = Sampling(n=8, max_tokens=config.candidates.max_tokens)
    answers = [
        candidate_of(completion, prompts[completion.request], policy)
        for completion in engine.generate(requests, policy, sampling)
        if hasattr(completion, "text")
    ]
    expected = JudgeSettings(score="expected", rubric="lab", min_mass=0.0)
    sampled = replace(expected, score="sampled", samples=3, max_tokens=32)

    def judge(settings: JudgeSettings) -> Callable[[], object]:
        judge = SelfJudge(engine, Rubric.load("lab"), settings)
        return lambda: list(judge.judge(prompts, answers, policy))

    def generate(engine: TransformersEngine) -> Callable[[], object]:
        return lambda: list(engine.generate(requests, policy, sampling))

    def learn(policy: Policy) -> Callable[[], object]:
        spec = _spec(config, policy, answers, scratch)
        return lambda: train(spec, Path(tempfile.mkdtemp(dir=scratch)))

    return [
        Comparison(
            "judging 512 answers", "expected score, one forward pass",
            "three sampled verdicts with reasons", judge(expected), judge(sampled),
        ),
        Comparison(
            "writing 512 answers", "batches of 256", "batches of 32",
            generate(engine), generate(narrow),
        ),
        Comparison(
            "DPO on 128 pairs", "unquantized base", "NF4 base",
            learn(policies["none"]), learn(policies["nf4"]),
        ),
    ]  # fmt: skip


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
        for item in comparisons(Path(scratch)):
            low, median, high = item.measure(rounds)
            lines.append(
                f"| {item.what} | {item.first_name} | {item.second_name} "
                f"| {median:.1f} ({low:.1f} … {high:.1f}) |"
            )
    return "\n".join(lines)


def replaced(page: str, table: str) -> str:
    """Return ``page`` with the text between the marks replaced."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


def _prompts(count: int) -> list[Prompt]:
    from iterdpo.lab.splits import instructions

    return [Prompt.of(text, "lab") for text in instructions("loop")[:count]]


def _spec(config: Any, policy: Policy, answers: list[Candidate], scratch: Path) -> TrainSpec:
    pairs = [
        Example(a.prompt_token_ids, a.token_ids, b.token_ids, sum(a.logprobs), sum(b.logprobs))
        for a, b in zip(answers[:256:2], answers[1:256:2], strict=True)
    ]
    path = scratch / f"{policy.fingerprint}.parquet"
    write_records(path, Example, pairs)
    return TrainSpec(
        base=policy.base,
        lora=config.model.adapter,
        training=config.training,
        policy_adapter=None,
        reference_adapter=None,
        reference_is_start=True,
        examples=str(path),
        seed=0,
        attention=config.model.attention,
        trust_remote_code=False,
    )


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
    options.page.write_text(replaced(options.page.read_text("utf-8"), table), "utf-8")


if __name__ == "__main__":
    main()
