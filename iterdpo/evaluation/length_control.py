"""The win rate as it would be if both answers were equally long (arXiv 2404.04475)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from iterdpo.evaluation.logistic import SMALLEST_TIE, logistic_fit
from iterdpo.evaluation.resampling import (
    FIT_RESAMPLES,
    SEED,
    percentile_interval,
    prompt_means,
    random_weights,
    win_rate_ci,
)
from iterdpo.evaluation.statistics import Estimate, Key

Lengths = tuple[float, float, float]
"""Preference for the model in [0, 1], length of its answer, length of the opponent's."""
PRIOR_SPREAD = 2.5
"""Of φ, in log-odds. 50 comparisons leave it open by about 0.6: they decide, not the prior."""


def length_controlled(
    comparisons_by_prompt: Mapping[Key, Sequence[Lengths]],
    *,
    resamples: int = FIT_RESAMPLES,
    seed: int = SEED,
) -> Estimate | None:
    """Return the length-controlled win rate, in [0, 1], with its interval clustered by prompt.

    AlpacaEval 2 (arXiv 2404.04475) fits, over the comparisons of one model with one
    opponent,

        P(model is preferred) = σ(θ + φ · tanh(Δ / sd(Δ)) + ψ · γ_x)

    where Δ is the difference of the answers' lengths and γ_x the difficulty of instruction x, and
    reports the mean over x with Δ set to 0. Here σ(θ) is reported, of the same fit to fractional
    preferences by log-loss. Departures:

    - No ψ · γ_x. The paper estimates γ_x from the results of more than a hundred models on the same
      805 instructions. From one comparison or a few a prompt it would be the outcome itself.
    - No cross-validated L1 penalty and no gamed baselines with weight 0.2. Two mild priors keep the
      fit finite where a model always wins or the longer answer always does: one tie of equally long
      answers is added, which pulls the result to 1/2 by the weight of one prompt; and φ has a
      normal prior of spread 2.5, which leaves it free up to odds of a hundred to one between much
      longer and much shorter answers.
    - Every prompt weighs the same, and lengths are in whatever unit they are given.
    - An interval, which AlpacaEval does not report: prompts are resampled, the added tie with
      random weights, as in ``resampling.win_rate_ci``; sd(Δ) stays that of the data.

    Where the model's answers are nearly always the longer ones, equal length lies outside the data.
    The interval shows that by its width; it cannot show that the curve is of another shape there.

    Args:
        comparisons_by_prompt: by prompt; lengths are not negative, in tokens or characters.
        resamples: how many.
        seed: of the weights.

    Returns:
        The estimate. With no difference of length anywhere it is ``win_rate_ci``'s. None where all
        differences of length are equal and not 0, so that nothing tells model and length apart.

    Raises:
        ValueError: there is no comparison, a prompt has none, a preference lies outside [0, 1], or
            a length is negative or not finite.
    """
    import numpy as np
    from scipy.special import expit

    prompts = list(comparisons_by_prompt.values())
    prompt_means([[item[0] for item in prompt] for prompt in prompts])
    owner = np.repeat(np.arange(len(prompts)), [len(prompt) for prompt in prompts])
    preferences, own, other = np.array([item for prompt in prompts for item in prompt], float).T
    lengths = np.concatenate([own, other])
    if not np.isfinite(lengths).all() or lengths.min() < 0:
        raise ValueError("a length that is negative or not finite")
    difference = own - other
    if np.ptp(difference) == 0:
        if difference[0] != 0:
            return None
        shares = {key: [x[0] for x in items] for key, items in comparisons_by_prompt.items()}
        return win_rate_ci(shares, resamples=resamples, seed=seed)
    slopes = np.tanh(difference / difference.std(ddof=1))
    features = np.stack([np.ones(len(slopes) + 2), [*slopes, 0, 0]], axis=1)
    outcomes = np.array([*preferences, 1, 0])
    penalty = (0.0, 1 / PRIOR_SPREAD**2)
    share = 1 / np.bincount(owner)[owner]
    fit = logistic_fit(features, outcomes, np.array([[*share, 0.5, 0.5]]), penalty)[0]
    mean = float(expit(fit[0]))
    if len(prompts) == 1:
        return Estimate(mean, None, None, len(owner), 1)
    weights = random_weights(len(prompts), resamples, seed, halves=2)
    tie = np.maximum(weights[:, -2:], SMALLEST_TIE)
    weights = np.concatenate([weights[:, owner] * share, tie], axis=1)
    samples = expit(logistic_fit(features, outcomes, weights, penalty, start=fit)[:, 0])
    low, high = percentile_interval(samples, len(prompts), parameters=2)
    return Estimate(mean, min(low, mean), max(high, mean), len(owner), len(prompts))
