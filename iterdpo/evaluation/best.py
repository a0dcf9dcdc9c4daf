"""Which model of a run is the best one: seldom a matter of the last digit.

The highest mean may be luck. A model beats another where the 95 % interval of the paired difference
between them, clustered by prompt, lies above 0. The best model is the earliest one that no other
beats: of models that cannot be told apart, the one with the least training behind it, in the spirit
of the one-standard-error rule (Breiman et al., Classification and Regression Trees, 1984, section
3.4.3). There always is one, since nothing beats the highest mean. A run whose gains cannot be told
from chance names M0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from iterdpo.evaluation.statistics import Estimate, Values, paired_difference

By = Literal["oracle", "head_to_head", "judge"]
Scores = Mapping[str, Sequence[float]]
"""A model's values by prompt id."""

MEASURES: Mapping[By, str] = {
    "oracle": "quality by the oracle",
    "head_to_head": "win rate against M0",
    "judge": "mean score by the model's own judgment",
}


@dataclass(frozen=True, slots=True)
class Best:
    """The model to use, and why."""

    model: str
    why: str
    """One sentence."""
    by: By


def best_model(scores: Mapping[str, Scores], by: By) -> Best:
    """Name the earliest model that no other is significantly better than.

    Models are compared on the prompts that all of them have values for; one without any value is
    out of the running. With a single prompt there is no interval: then nothing is significant, and
    the first model is named.

    Args:
        scores: by model name, in the order in which they were made: values by prompt id.
        by: what the values are.

    Raises:
        ValueError: there is no model.
    """
    if not scores:
        raise ValueError("no models to choose from")
    measured = [name for name, values in scores.items() if any(values.values())]
    names = measured or list(scores)[:1]
    shared = [key for key in scores[names[0]] if all(scores[name].get(key) for name in names)]
    if not shared:
        why = "no prompt has a value for every model, so none can be shown to beat the first"
        return Best(names[0], why, by)
    values = {name: {prompt: scores[name][prompt] for prompt in shared} for name in names}
    means = {name: fmean(map(fmean, own.values())) for name, own in values.items()}
    top = max(names, key=lambda name: means[name])  # the first of equals
    best = next(
        name
        for name in names
        if not any(above_zero(paired_difference(values[other], values[name])) for other in names)
    )
    lead = paired_difference(values[top], values[best])
    return Best(best, _why(names, best, top, lead, means[top], by), by)


def gain(later: Values[str], earlier: Values[str]) -> Estimate | None:
    """Return the mean over shared prompts of later - earlier, paired; None where there is none."""
    shared = [prompt for prompt in later if later[prompt] and earlier.get(prompt)]
    if not shared:
        return None
    return paired_difference(
        {prompt: later[prompt] for prompt in shared}, {prompt: earlier[prompt] for prompt in shared}
    )


def above_zero(difference: Estimate) -> bool:
    """Say whether a difference's whole 95 % interval lies above 0; without one it does not."""
    return difference.low is not None and difference.low > 0


def _why(names: Sequence[str], best: str, top: str, lead: Estimate, mean: float, by: By) -> str:
    measure = MEASURES[by]
    if len(names) == 1:
        return "the only model that was measured"
    if top == names[0]:
        return f"the highest {measure}, {mean:.3g}: no later model is better"
    if best == top:
        return f"the highest {measure}, {mean:.3g}; a later model beats each earlier one"
    interval = f" ({lead.low:+.3g} … {lead.high:+.3g})" if lead.low is not None else ""
    return (
        f"the earliest model that none beats significantly: the lead of {top}, the highest "
        f"{measure}, is {lead.mean:+.3g}{interval}"
    )
