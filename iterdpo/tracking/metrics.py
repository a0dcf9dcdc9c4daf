"""The numbers of ``summary.json`` under flat names, as trackers want them: ``pairs/kept``.

The names are what charts and scripts hold on to; docs/tracking.md lists them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

OF_A_MODEL = (
    "quality", "gain", "judge", "judged_mean", "response_tokens", "truncated_share",
    "duplicate_share",
)  # fmt: skip
"""Entries of ``models[i]`` that are taken over as they are."""


def metrics(result: Mapping[str, Any], iteration: int) -> dict[str, float | int]:
    """Return the numbers of one iteration, flat; what is undefined (null) is left out.

    A mapping's keys are joined by ``/``, an interval of two numbers ends in ``/low`` and ``/high``,
    and truth values are 0 and 1.

    Args:
        result: what ``summary.json`` holds so far.
        iteration: 0 is M0.
    """
    model = result["models"][iteration]
    values: dict[str, Any] = {name: model[name] for name in OF_A_MODEL if name in model}
    values["best_of"] = {str(item["n"]): item["quality"] for item in model.get("best_of") or ()}
    values["head_to_head"] = dict(_head_to_head(result, model["name"]))
    for rating in result.get("ratings") or ():
        if rating["model"] == model["name"]:
            points = {"points": rating["rating"], "low": rating["low"], "high": rating["high"]}
            values["rating"] = points
    if iteration:
        made = dict(result["iterations"][iteration - 1])
        del made["iteration"]
        values |= made
    if "alarms" in result:
        raised = [alarm for alarm in result["alarms"] if alarm["iteration"] == iteration]
        values["alarms"] = len(raised)
        values["alarm"] = {alarm["name"]: alarm["value"] for alarm in raised}
    if iteration == 0:
        values["control"] = dict(_controls(result.get("controls") or ()))
    return dict(_flat(values))


def _head_to_head(result: Mapping[str, Any], name: str) -> Iterator[tuple[str, Any]]:
    """Yield ``<judge>/vs_<opponent>`` and its numbers, of each comparison of the model ``name``.

    The name of a control goes behind the opponent's: ``vs_M0_temperature_0.4``, ``vs_M0_greedy``.
    """
    for item in (*(result.get("comparisons") or ()), *(result.get("against_controls") or ())):
        if item["model"] == name:
            told = {k: v for k, v in item.items() if k not in ("model", "opponent", "judge")}
            met = "_".join([item["opponent"], *item.get("control", "").split()])
            yield f"{item['judge']}/vs_{met}", told


def _controls(controls: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Any]]:
    for item in controls:
        told = {"quality": item["quality"], "response_tokens": item["response_tokens"]}
        yield f"temperature_{item['temperature']}", told


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float | int]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
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
