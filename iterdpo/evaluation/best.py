"""Which model of a run is the best one: seldom a matter of the last digit.

The highest mean may be luck. A model beats another where the 95 % interval of the paired difference
between them, clustered by prompt, lies above 0. The best model is the earliest one that no other
beats: of models that cannot be told apart, the one with the least training behind it, in the spirit
of the one-standard-error rule (Classification and Regression Trees, 1984, section 3.4.3). There
always is one, since nothing beats the highest mean. A run whose gains cannot be told from chance
names M0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from statistics import fmean
from typing import Literal

from iterdpo.evaluation.resampling import outcome_gap_ci
from iterdpo.evaluation.statistics import Estimate, Values, paired_difference

By = Literal["oracle", "head_to_head", "judge"]
Scores = Mapping[str, Sequence[float]]
"""A model's values by prompt id."""

EVEN = 0.5
"""The win rate of a model against itself."""

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
        scores: by model name, in the order in which they were made: values by prompt id. Those of
            ``head_to_head`` are outcomes in [0, 1].
        by: what the values are.

    Raises:
        ValueError: there is no model, or an outcome lies outside [0, 1].
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
        if not any(above_zero(_difference(values[other], values[name], by)) for other in names)
    )
    lead = _difference(values[top], values[best], by)
    return Best(best, _why(names, best, top, lead, means[top], by), by)


def gain(later: Values[str], earlier: Values[str]) -> Estimate | None:
    """Return the mean over shared prompts of later - earlier, paired; None where there is none."""
    shared = [prompt for prompt in later if later[prompt] and earlier.get(prompt)]
    if not shared:
        return None
    return paired_difference(
        {prompt: later[prompt] for prompt in shared}, {prompt: earlier[prompt] for prompt in shared}
    )


def outcome_gain(later: Values[str], earlier: Values[str]) -> Estimate:
    """Return the mean over prompts of later - earlier, where the values are outcomes in [0, 1].

    Its interval is that of a win rate. Mean ± t · SE of two wins of two is of width 0, and two
    prompts would prove a model.

    Args:
        later: a model's outcomes by prompt, against some opponent.
        earlier: another's against the same one at the same prompts; ``EVEN`` for the opponent's
            own.

    Raises:
        ValueError: the prompts are not the same, there is none, or a value lies outside [0, 1].
    """
    if later.keys() != earlier.keys():
        raise ValueError("the outcomes of two models at different prompts")
    # As far as a prompt's difference can reach, from end to end: it is read as a share of that.
    even = any(all(x == EVEN for x in chain(*side.values())) for side in (later, earlier))
    reach = 1.0 if even else 2.0
    gaps = {prompt: [fmean(own) - fmean(earlier[prompt])] for prompt, own in later.items()}
    return outcome_gap_ci(gaps, reach)


def above_zero(difference: Estimate) -> bool:
    """Say whether a difference's whole 95 % interval lies above 0; without one it does not."""
    return difference.low is not None and difference.low > 0


def _difference(later: Values[str], earlier: Values[str], by: By) -> Estimate:
    return (outcome_gain if by == "head_to_head" else paired_difference)(later, earlier)


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
