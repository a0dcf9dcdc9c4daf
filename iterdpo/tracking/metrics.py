"""The numbers of a run's summary under flat names, as trackers want them: ``pairs/kept``.

The names are what charts and scripts hold on to; docs/tracking.md lists them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields, is_dataclass
from typing import Any

from iterdpo.evaluation.statistics import Estimate, ends
from iterdpo.evaluation.summary import IterationSummary, ModelSummary, PairSummary, Summary


def metrics(summary: Summary, iteration: int) -> dict[str, float | int]:
    """Return the numbers of one iteration, flat; what is undefined (None) is left out.

    The names of fields are joined by ``/``, an interval of two numbers ends in ``/low`` and
    ``/high``, and truth values are 0 and 1.

    Args:
        summary: of the run so far.
        iteration: 0 is M0.
    """
    model = summary.models[iteration]
    evaluation, alarms = model.evaluation, summary.alarms_of(iteration)
    values: dict[str, Any] = {
        "quality": evaluation.quality,
        "gain": model.gains,
        "judge": _judge(model),
        "judged_mean": evaluation.judged_mean,
        "response_tokens": evaluation.response_tokens,
        "truncated_share": evaluation.truncated_share,
        "duplicate_share": evaluation.duplicate_share,
        "best_of": {str(item.n): item.quality for item in evaluation.best_of},
        "head_to_head": dict(_head_to_head(summary, model.name)),
        "alarms": len(alarms),
        "alarm": {alarm.name: alarm.value for alarm in alarms},
    }
    for rating in summary.ratings:
        if rating.model == model.name:
            points = {"points": rating.rating, "low": rating.low, "high": rating.high}
            values["rating"] = points
    if iteration == 0:
        values["baseline"] = dict(_baselines(summary))
    else:
        values |= _iteration(summary.iterations[iteration - 1])
    return dict(_flat(values))


def without_prompts(summary: Summary) -> dict[str, Any]:
    """Return a summary as plain values without what it has by prompt.

    Trackers make a column of every key, and there are thousands of prompts.
    """
    values = asdict(summary)
    for model in values["models"]:
        for name in [name for name in model["evaluation"] if name.endswith("_by_prompt")]:
            del model["evaluation"][name]
    for item in values["temperature_baselines"]:
        del item["result"]["scores_by_prompt"]
    return values


def _judge(model: ModelSummary) -> dict[str, Any]:
    judge, agreement = model.evaluation.judge, model.agreement_with_previous
    intervals = dict(judge.ci95)
    if agreement:
        intervals["agreement_with_previous"] = ends(agreement)
    return {
        **_fields(judge),
        "agreement_with_previous": agreement.mean if agreement else None,
        "ci95": intervals,
    }


def _head_to_head(summary: Summary, name: str) -> Iterator[tuple[str, Any]]:
    """Yield ``<judge>/vs_<opponent>`` and its numbers, of each comparison of the model ``name``.

    The name of a baseline goes behind the opponent's: ``vs_M0_temperature_0.4``, ``vs_M0_greedy``.
    """
    for item in (*summary.comparisons, *summary.against_baselines):
        if item.model == name:
            met = "_".join([item.opponent, *(item.baseline or "").split()])
            yield f"{item.judge}/vs_{met}", item.result


def _baselines(summary: Summary) -> Iterator[tuple[str, Any]]:
    for item in summary.temperature_baselines:
        told = {"quality": item.result.quality, "response_tokens": item.result.response_tokens}
        yield f"temperature_{item.result.temperature}", told


def _iteration(made: IterationSummary) -> dict[str, Any]:
    values = _fields(made)
    del values["iteration"]
    return values | {"pairs": _pairs(made.pairs)}


def _pairs(pairs: PairSummary) -> dict[str, Any]:
    accuracy: Estimate | None = pairs.quality.label_accuracy
    return {
        "kept": pairs.kept,
        "dropped": pairs.dropped,
        "label_accuracy": accuracy.mean if accuracy else None,
        "label_accuracy_ci95": ends(accuracy) if accuracy else None,
        "margin_mean": pairs.quality.margin_mean,
        "length_ratio": pairs.quality.length_ratio,
    }


def _fields(value: Any) -> dict[str, Any]:
    return {item.name: getattr(value, item.name) for item in fields(value)}


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float | int]]:
    for name, value in values.items():
        if is_dataclass(value) and not isinstance(value, type):
            yield from _flat(asdict(value), f"{prefix}{name}/")
        elif isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}/")
        elif isinstance(value, bool):
            yield f"{prefix}{name}", int(value)
        elif isinstance(value, int | float):
            yield f"{prefix}{name}", value
        elif _is_interval(value):
            yield f"{prefix}{name}/low", value[0]
            yield f"{prefix}{name}/high", value[1]


def _is_interval(value: object) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) == 2
        and all(isinstance(end, int | float) for end in value)
    )
