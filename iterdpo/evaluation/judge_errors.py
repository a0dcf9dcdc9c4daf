"""A win rate corrected for the judge's errors, by what people said of some of the comparisons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from iterdpo.evaluation.resampling import (
    RESAMPLES,
    SEED,
    percentile_interval,
    prompt_means,
    random_weights,
    win_rate_ci,
)
from iterdpo.evaluation.statistics import Estimate, Key, Values

if TYPE_CHECKING:
    from iterdpo.evaluation.resampling import Floats

Labeled = tuple[float, float]
"""Preference for the model in [0, 1] of one comparison: people's, and the judge's."""


@dataclass(frozen=True, slots=True)
class Correction:
    """What a judge's win rate is, and what it would be without the judge's errors."""

    judged: Estimate
    """The judge's own win rate, in [0, 1]."""
    sensitivity: Estimate
    """Judge's mean outcome where people prefer the model, in [0, 1]; ``n`` labeled comparisons of
    ``clusters`` prompts, as in the two below."""
    specificity: Estimate
    """1 - the judge's mean outcome where people prefer the opponent, in [0, 1]."""
    corrected: Estimate | None
    """People's win rate over all comparisons, in [0, 1], with an interval that counts the errors of
    both samples. None where the labels do not show that the judge is better than chance."""


def correct(
    judged_by_prompt: Values[Key],
    labeled_by_prompt: Mapping[Key, Sequence[Labeled]],
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Correction | None:
    """Return the win rate that people would have found, from a judge's and some of their labels.

    How to Correctly Report LLM-as-a-Judge Evaluations (arXiv 2511.21140) corrects the rate p that a
    judge gives by its sensitivity q₁ and its specificity q₀ on a labeled sample, as Rogan and
    Gladen (American Journal of Epidemiology 107:71, 1978) did with a test for a disease:

        θ = (p + q₀ - 1) / (q₀ + q₁ - 1), cut at 0 and 1

    A tie counts half, for people as for the judge: with h and v their preferences,
    q₁ = Σ h·v / Σ h and q₀ = Σ (1 - h)·(1 - v) / Σ (1 - h). With that, θ is people's own win rate
    wherever they labeled everything, ties or none. Every prompt weighs the same.

    The interval is the Bayesian bootstrap of ``resampling``: a prompt has one weight in all three
    rates, which counts the errors of both samples and that one is part of the other, as the paper's
    formula for independent samples cannot. Beside the prompts stand a made-up win and a loss for
    each rate, of half a prompt's weight each, so that 20 right verdicts of 20 are no certainty.

    That holds where the labeled comparisons are a random sample of all (a label page's are), or the
    judge errs as often in both.

    Args:
        judged_by_prompt: the judge's preferences for the model in [0, 1], by prompt.
        labeled_by_prompt: the labeled comparisons, by prompt; every prompt is one of the judged.
        resamples: how many.
        seed: of the weights.

    Returns:
        The correction; None where people never preferred the model or never the opponent, or
        labeled nothing, so that one of the judge's two rates is unknown.

    Raises:
        ValueError: there is no comparison, a prompt has none, a preference lies outside [0, 1], or
            a labeled prompt was not judged.
    """
    import numpy as np

    if strange := labeled_by_prompt.keys() - judged_by_prompt.keys():
        raise ValueError(f"{len(strange)} labeled prompts were not judged")
    judged = prompt_means(list(judged_by_prompt.values()))
    if not labeled_by_prompt:
        return None
    prompt_means(
        [[side for item in items for side in item] for items in labeled_by_prompt.values()]
    )
    # Means over a prompt's comparisons of what each rate has above and below the line.
    above, below = np.zeros((2, 3, len(judged)))
    above[0], below[0] = judged, 1
    for place, prompt in enumerate(judged_by_prompt):
        if items := labeled_by_prompt.get(prompt):
            human, judge = np.array(items, float).T
            above[1:, place] = np.mean([human * judge, (1 - human) * (1 - judge)], axis=1)
            below[1:, place] = np.mean([human, 1 - human], axis=1)
    if not below.any(axis=1).all():
        return None
    rates = above.sum(axis=1) / below.sum(axis=1)
    weights = random_weights(len(judged), resamples, seed, halves=6)
    weights, ends = weights[:, :-6], weights[:, -6:].reshape(-1, 3, 2)
    samples = (weights @ above.T + ends[..., 0]) / (weights @ below.T + ends.sum(axis=2))
    labels, prompts = sum(map(len, labeled_by_prompt.values())), len(labeled_by_prompt)

    def estimate(mean: float, drawn: Floats) -> Estimate:
        if prompts == 1:
            return Estimate(mean, None, None, labels, 1)
        low, high = percentile_interval(drawn, prompts)
        return Estimate(mean, min(low, mean), max(high, mean), labels, prompts)

    informed = estimate(rates[1] + rates[2] - 1, samples[:, 1] + samples[:, 2] - 1)
    return Correction(
        judged=win_rate_ci(judged_by_prompt, resamples=resamples, seed=seed),
        sensitivity=estimate(float(rates[1]), samples[:, 1]),
        specificity=estimate(float(rates[2]), samples[:, 2]),
        corrected=estimate(float(_rogan_gladen(rates)), _rogan_gladen(samples))
        if informed.low is not None and informed.low > 0
        else None,
    )


def _rogan_gladen(rates: Floats) -> Floats:
    """Return the corrected rate (...) of judged rate, sensitivity and specificity (..., 3)."""
    import numpy as np

    judged, sensitivity, specificity = np.moveaxis(rates, -1, 0)
    # A resample in which the judge is no better than chance goes to an end, as those near it do.
    better = np.maximum(sensitivity + specificity - 1, 1e-9)
    corrected: Floats = np.clip((judged + specificity - 1) / better, 0, 1)
    return corrected
