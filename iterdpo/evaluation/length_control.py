"""The win rate as it would be if both answers were equally long (arXiv 2404.04475)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from iterdpo.evaluation.resampling import Floats

Lengths = tuple[float, float, float]
"""Preference for the model in [0, 1], length of its answer, length of the opponent's."""
PRIOR_SPREAD = 2.5
"""Of φ, in log-odds. 50 comparisons leave it open by about 0.6: they decide, not the prior."""
LEAST_OVERLAP = 0.25
"""The least share of answers that are the longer ones, for the model as for its opponent."""
NOT_ESTIMABLE = "not estimable"
"""Shown in the place of a rate where there are comparisons, and their lengths do not overlap."""


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
      random weights, as in ``resampling.win_rate_ci``. Nothing says that a judge counts characters
      and not proportions, so half of the resamples are fitted with the relative difference
      (a - b) / (a + b) in Δ's place: the interval is wider where it matters which. The spreads stay
      those of the data.
    - Where the model's answers, or its opponent's, are the longer ones in less than a quarter of
      the comparisons (equal lengths count one half for each), nothing is estimated. Equal length
      then lies outside the middle half of the differences seen: the few answers near it are to
      other prompts than the rest, and the curve between is an assumption (decision 0021).

    Exchanging model and opponent mirrors the estimate and both ends of its interval.

    Args:
        comparisons_by_prompt: by prompt; lengths are not negative, in tokens or characters.
        resamples: how many.
        seed: of the weights.

    Returns:
        The estimate. With no difference of length anywhere it is ``win_rate_ci``'s. None where the
        lengths do not overlap.

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
    share = 1 / np.bincount(owner)[owner]
    difference = own - other
    if not difference.any():
        shares = {key: [x[0] for x in items] for key, items in comparisons_by_prompt.items()}
        return win_rate_ci(shares, resamples=resamples, seed=seed)
    longer = float(share @ (1 + np.sign(difference))) / (2 * len(prompts))
    if not LEAST_OVERLAP <= longer <= 1 - LEAST_OVERLAP:
        return None
    outcomes = np.array([*preferences, 1, 0])
    penalty = (0.0, 1 / PRIOR_SPREAD**2)
    scales = [_features(gap) for gap in (difference, difference / np.maximum(own + other, 1e-300))]
    once = np.array([[*share, 0.5, 0.5]])
    starts = [logistic_fit(features, outcomes, once, penalty)[0] for features in scales]
    mean = float(expit(starts[0][0]))
    if len(prompts) == 1:
        return Estimate(mean, None, None, len(owner), 1)
    weights = random_weights(len(prompts), resamples, seed, halves=2)
    tie = np.maximum(weights[:, -2:], SMALLEST_TIE)
    weights = weights[:, owner] * share
    # The tie comes in both ways around, so that none of the two models is favored.
    both = np.stack([np.concatenate([weights, ends], 1) for ends in (tie, tie[:, ::-1])])
    samples = [
        expit(logistic_fit(features, outcomes, np.concatenate(both[:, part]), penalty, start)[:, 0])
        for features, start, part in zip(scales, starts, (np.s_[::2], np.s_[1::2]), strict=True)
    ]
    low, high = percentile_interval(np.concatenate(samples), len(prompts), parameters=2)
    return Estimate(mean, min(low, mean), max(high, mean), len(owner), len(prompts))


def _features(gap: Floats) -> Floats:
    """Return (n + 2, 2): a constant and the bounded gap of each comparison, then of the tie's."""
    import numpy as np

    slopes = np.tanh(gap / gap.std(ddof=1))
    return np.stack([np.ones(len(gap) + 2), [*slopes, 0, 0]], axis=1)
