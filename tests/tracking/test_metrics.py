"""The names and values that charts hold on to."""

from __future__ import annotations

from dataclasses import replace

from iterdpo.evaluation.gains import Gains
from iterdpo.evaluation.health import Alarm
from iterdpo.evaluation.ratings import Rating
from iterdpo.evaluation.statistics import Estimate
from iterdpo.evaluation.summary import Summary
from iterdpo.tracking.metrics import metrics, without_prompts
from tests import summaries

RATE = {"mean": 0.5, "low": 0.25, "high": 0.75, "n": 8, "clusters": 4}
ESTIMATE = Estimate(0.5, 0.25, 0.75, 8, 4)


def summary() -> Summary:
    gains = Gains(over_previous=None, over_initial=ESTIMATE, over_baseline=None)
    models = [summaries.model(0, 3.5), summaries.model(1, 3.5, gains)]
    exact = summaries.comparison(judge="oracle", rate=ESTIMATE)
    exact = replace(exact, result=replace(exact.result, flips=None, prompts_needed=None))
    return summaries.summary(
        models,
        iterations=(summaries.iteration(1),),
        comparisons=(exact, summaries.comparison(rate=ESTIMATE)),
        ratings=(Rating("M1", 30.5, 10.0, 50.0),),
        temperature_baselines=(summaries.baseline(0.5, 3.4),),
        alarms=(Alarm(1, "length", 2.0, 1.5, "grew"),),
    )


def measures(place: str) -> dict[str, float]:
    return {
        f"{place}/five_best": 0.5, f"{place}/exact_match": 0.25, f"{place}/spearman": 0.4,
        f"{place}/kendall_tau": 0.3, f"{place}/n": 10, f"{place}/unscored": 0,
    }  # fmt: skip


def of_estimate(place: str, mean: float, half: float) -> dict[str, float]:
    ends = {f"{place}/low": mean - half, f"{place}/high": mean + half}
    return {f"{place}/mean": mean, **ends, f"{place}/n": 40, f"{place}/clusters": 10}


def test_of_m0() -> None:
    assert metrics(summary(), 0) == {
        "quality/mean": 3.5, "quality/ci95/low": 3.3, "quality/ci95/high": 3.7, "quality/n": 40,
        "quality/perfect": 5.0, "quality/perfect_share": 0.1, "quality/greedy_mean": 4.0,
        "quality/greedy_ci95/low": 3.9, "quality/greedy_ci95/high": 4.1,
        "judge/reference_set/pairwise_accuracy": 0.8, **measures("judge/reference_set"),
        "judge/reference_set/ci95/pairwise_accuracy/low": 0.75,
        "judge/reference_set/ci95/pairwise_accuracy/high": 0.85,
        "judge/reference_set/ci95/spearman/low": -0.1,
        "judge/reference_set/ci95/spearman/high": 0.9,
        "judge/own_answers/pairwise_accuracy": 0.7, **measures("judge/own_answers"),
        "judge/parse_rate": 0.975, "judge/length_correlation": -0.05,
        "judge/ci95/parse_rate/low": 0.95, "judge/ci95/parse_rate/high": 0.99,
        "judge/ci95/length_correlation/low": -0.1, "judge/ci95/length_correlation/high": 0.0,
        "judged_mean": 3.0, "response_tokens": 1234.56, "truncated_share": 0.0,
        **of_estimate("best_of/1", 3.5, 0.1), **of_estimate("best_of/2", 4.0, 0.1),
        **of_estimate("baseline/temperature_0.5/quality", 3.4, 0.1),
        "baseline/temperature_0.5/response_tokens": 7.0,
        "alarms": 0,
    }  # fmt: skip


def test_of_an_iteration() -> None:
    values = metrics(summary(), 1)
    new = {name: value for name, value in values.items() if name not in metrics(summary(), 0)}
    expected: dict[str, float] = {
        "prompts": 3, "candidates": 16_000, "judgments/scored": 15_999, "judgments/unscored": 1,
        "judgments/reasons/no_mass": 1,
        "pairs/kept": 123_456, "pairs/dropped/tie": 3, "pairs/dropped/margin": 1,
        "pairs/label_accuracy": 0.9, "pairs/label_accuracy_ci95/low": 0.8,
        "pairs/label_accuracy_ci95/high": 0.95, "pairs/margin_mean": 2.0, "pairs/length_ratio": 1.1,
        "training/pairs": 2, "training/prompts_too_long": 0, "training/steps": 5,
        "training/step0_loss": 0.6931, "training/step0_expected_loss": 0.6931,
        "training/step0_largest_reward": 0.0, "training/final_loss": 0.5,
        "training/reference_unchanged": 1, "training/engine_gap": 1e-6,
        "generated_tokens": 20, "generated_tokens_new": 20,
        "seconds/candidates": 1.0, "seconds/judgments": 2.0, "seconds/adapter": 3.0,
        "seconds/pairs": 0.01,
        "peak_memory/candidates/ram": 3 << 29, "peak_memory/adapter/ram": 2 << 30,
        "peak_memory/adapter/gpu": 5 << 28,
        "rating/points": 30.5, "rating/low": 10.0, "rating/high": 50.0, "alarm/length": 2.0,
        "judge/agreement_with_previous": 0.9, "judge/ci95/agreement_with_previous/low": 0.8,
        "judge/ci95/agreement_with_previous/high": 1.0,
        "head_to_head/initial/vs_M0/flips": 5, "head_to_head/initial/vs_M0/prompts_needed": 1200,
    }  # fmt: skip
    for stage, spent in (("candidates", (10, 0, 20, 5.0)), ("judgments", (0, 0, 0, 0.0))):
        names = ("prompt_tokens", "cached_prompt_tokens", "generated_tokens", "tokens_per_second")
        expected |= {f"usage/{stage}/{name}": n for name, n in zip(names, spent, strict=True)}
    expected |= {f"gain/over_initial/{name}": value for name, value in RATE.items()}
    counts = {"prompts": 10, "wins": 20, "ties": 12, "losses": 8, "unscored": 2,
              "reasons/no_mass": 2, "standard_error": 0.1}  # fmt: skip
    for judge in ("oracle", "initial"):
        place = f"head_to_head/{judge}/vs_M0"
        expected |= {f"{place}/{name}": value for name, value in counts.items()}
        expected |= {f"{place}/win_rate/{name}": value for name, value in RATE.items()}
    assert new == expected
    assert values["alarms"] == 1
    assert not any(isinstance(value, bool) for value in values.values())


def test_baselines_that_a_model_met_are_named_behind_the_opponent() -> None:
    against = [summaries.comparison(baseline=name) for name in ("temperature 0.4", "greedy")]
    found = replace(summary(), comparisons=(), against_baselines=tuple(against))
    values = {name: value for name, value in metrics(found, 1).items() if name.endswith("/wins")}
    assert values == {
        "head_to_head/initial/vs_M0_temperature_0.4/wins": 20,
        "head_to_head/initial/vs_M0_greedy/wins": 20,
    }


def test_a_tracker_gets_the_result_without_a_column_for_each_prompt() -> None:
    values = without_prompts(summary())
    names = set(values["models"][0]["evaluation"]) | set(
        values["temperature_baselines"][0]["result"]
    )
    assert {"quality", "judge", "temperature"} <= names
    assert not [name for name in names if name.endswith("by_prompt")]
    assert values["best"]["model"] == "M1"
