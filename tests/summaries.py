"""Summaries written out by hand: whole and typed, with the few figures that a test looks at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from iterdpo.engines.usage import Usage
from iterdpo.evaluation.baselines import TemperatureBaseline
from iterdpo.evaluation.best import Best
from iterdpo.evaluation.gains import Gains
from iterdpo.evaluation.head_to_head import HeadToHead
from iterdpo.evaluation.health import HealthMetrics
from iterdpo.evaluation.pairs import PairQuality
from iterdpo.evaluation.report import Agreement, BestOf, Evaluation, JudgeReport, Quality
from iterdpo.evaluation.statistics import Estimate
from iterdpo.evaluation.summary import (
    SUMMARY_VERSION,
    BaselineSummary,
    ComparisonSummary,
    EngineSummary,
    IterationStages,
    IterationSummary,
    JudgmentCounts,
    ModelStages,
    ModelSummary,
    PairSummary,
    RunSummary,
    StageSeconds,
    StageUsage,
    Summary,
    TrainingSummary,
)

Scores = Mapping[str, Sequence[float]]


def estimate(mean: float, half: float | None = 0.1) -> Estimate:
    low, high = (None, None) if half is None else (mean - half, mean + half)
    return Estimate(mean, low, high, 40, 10)


def quality(mean: float) -> Quality:
    return Quality(
        mean=mean, ci95=(mean - 0.2, mean + 0.2), perfect=5.0, perfect_share=0.1, greedy_mean=4.0,
        greedy_ci95=(3.9, 4.1), n=40,
    )  # fmt: skip


def agreement(accuracy: float | None) -> Agreement:
    """A judge of five measures, or of none where there is no accuracy."""
    known = accuracy is not None
    return Agreement(
        pairwise_accuracy=accuracy,
        five_best=0.5 if known else None,
        exact_match=0.25 if known else None,
        spearman=0.4 if known else None,
        kendall_tau=0.3 if known else None,
        n=10,
        unscored=0,
        ci95={"pairwise_accuracy": (0.75, 0.85), "spearman": (-0.1, 0.9)} if known else {},
        calibration=(),
    )


def evaluation(
    mean: float | None, scores: Scores | None = None, tokens: float = 1234.56
) -> Evaluation:
    """What was measured of a model.

    Args:
        mean: its quality; None without an oracle.
        scores: the oracle's, by prompt.
        tokens: mean length of its answers.
    """
    by_oracle = mean is not None
    best_of = () if mean is None else (BestOf(1, estimate(mean)), BestOf(2, estimate(mean + 0.5)))
    return Evaluation(
        quality=None if mean is None else quality(mean),
        judge=JudgeReport(
            reference_set=agreement(0.8 if by_oracle else None),
            own_answers=replace(agreement(0.7 if by_oracle else None), ci95={}),
            parse_rate=0.975,
            length_correlation=-0.05,
            ci95={"parse_rate": (0.95, 0.99), "length_correlation": (-0.1, 0.0)},
        ),
        best_of=best_of,
        judged_mean=3.0,
        judged_mean_ci95=(2.5, 3.5),
        response_tokens=tokens,
        truncated_share=0.0,
        duplicate_share=None,
        sampled_by_prompt={name: tuple(own) for name, own in (scores or {}).items()},
        greedy_by_prompt={},
        judged_by_prompt={},
    )


def model(
    number: int,
    mean: float | None = 3.0,
    gains: Gains | None = None,
    *,
    measured: Evaluation | None = None,
    **changes: Any,
) -> ModelSummary:
    """Return ``M<number>``, measured as ``evaluation`` says."""
    stages = {name: f"{name}/{number}" for name in ModelStages.__dataclass_fields__}
    made = ModelSummary(
        name=f"M{number}",
        iteration=number,
        fingerprint=f"{number:016x}",
        adapter_sha256=None,
        parent=f"M{number - 1}" if number else None,
        checkpoint="lab",
        evaluation=measured or evaluation(mean),
        gains=gains,
        agreement_with_previous=estimate(0.9) if number else None,
        health=HealthMetrics(number, f"M{number}", 10.0, 3.0),
        stages=ModelStages(**stages),
    )
    return replace(made, **changes)


def training(**changes: Any) -> TrainingSummary:
    made = TrainingSummary(
        pairs=2, prompts_too_long=0, steps=5, step0_loss=0.6931, step0_expected_loss=0.6931,
        step0_largest_reward=0.0, final_loss=0.5, reference_sha256="ab", reference_unchanged=True,
        engine_gap=1e-6,
    )  # fmt: skip
    return replace(made, **changes)


def iteration(number: int, **changes: Any) -> IterationSummary:
    stages = {name: f"{name}/{number}" for name in IterationStages.__dataclass_fields__}
    made = IterationSummary(
        iteration=number,
        prompts=3,
        candidates=16_000,
        judgments=JudgmentCounts(15_999, 1, {"no_mass": 1}),
        pairs=PairSummary(
            123_456, {"tie": 3, "margin": 1}, PairQuality(Estimate(0.9, 0.8, 0.95, 9, 9), 2.0, 1.1)
        ),
        training=training(),
        generated_tokens=20,
        generated_tokens_new=20,
        usage={"candidates": StageUsage(10, 0, 20, 5.0), "judgments": StageUsage(0, 0, 0, 0.0)},
        seconds={"candidates": 1.0, "judgments": 2.0, "adapter": 3.0, "pairs": 0.01},
        peak_memory={
            "candidates": {"ram": 3 << 29, "gpu": None},
            "adapter": {"ram": 2 << 30, "gpu": 5 << 28},
        },
        stages=IterationStages(**stages),
    )
    return replace(made, **changes)


def comparison(
    name: str = "M1", opponent: str = "M0", rate: Estimate | None = None, **changes: Any
) -> ComparisonSummary:
    """Return 40 comparisons that could be read, and 2 that could not."""
    result = HeadToHead(
        prompts=10, wins=20, ties=12, losses=8, flips=5, unscored=2, reasons={"no_mass": 2},
        win_rate=rate or estimate(0.65), standard_error=0.1, length_controlled=None,
        prompts_needed=1200,
    )  # fmt: skip
    made = ComparisonSummary(name, opponent, "initial", None, result, "comparisons/1")
    return replace(made, **changes)


def baseline(temperature: float, mean: float, strongest: bool = True) -> BaselineSummary:
    result = TemperatureBaseline(temperature, estimate(mean), strongest, 7.0, {"p": (mean,)})
    return BaselineSummary(result, f"answers/{temperature}")


def summary(models: Sequence[ModelSummary], **changes: Any) -> Summary:
    """Return a summary of ``models`` and of whatever else ``changes`` says."""
    engine = EngineSummary({"engine": "scripted", "device": "cpu"}, 1, Usage())
    made = Summary(
        version=SUMMARY_VERSION,
        iterdpo="0.1.0",
        models=tuple(models),
        iterations=(),
        comparisons=(),
        against_baselines=(),
        ratings=(),
        temperature_baselines=(),
        alarms=(),
        best=Best(models[-1].name, "a reason", "oracle"),
        stopped=None,
        canaries={},
        run=RunSummary(engine, 0, "cd", 4.0, (StageSeconds("base/1", 30.0),), {"python": "3.11"}),
    )
    return replace(made, **changes)
