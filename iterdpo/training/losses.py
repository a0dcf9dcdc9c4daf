"""Preference losses as pure functions, written from their papers.

Training itself uses TRL. These are the independent reference that TRL's first step is held
against, so they share no code with it. Notation, all ``(B,)`` tensors in nats unless said:

    c = log pi(y_w|x) - log ref(y_w|x)        chosen log-ratio
    r = log pi(y_l|x) - log ref(y_l|x)        rejected log-ratio
    d = c - r                                 so beta * d is the reward margin
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class PairLogprobs:
    """What a preference loss is a function of, for a batch of B pairs."""

    policy_chosen: torch.Tensor
    """log pi(y_w|x), summed over tokens."""
    policy_rejected: torch.Tensor
    reference_chosen: torch.Tensor
    reference_rejected: torch.Tensor
    chosen_tokens: torch.Tensor
    """Number of tokens of y_w."""
    rejected_tokens: torch.Tensor

    @property
    def chosen_ratio(self) -> torch.Tensor:
        return self.policy_chosen - self.reference_chosen

    @property
    def rejected_ratio(self) -> torch.Tensor:
        return self.policy_rejected - self.reference_rejected

    @property
    def difference(self) -> torch.Tensor:
        return self.chosen_ratio - self.rejected_ratio

    @property
    def mean_difference(self) -> torch.Tensor:
        """The difference of per-token mean log-ratios."""
        return self.chosen_ratio / self.chosen_tokens - self.rejected_ratio / self.rejected_tokens


PairLoss = Callable[[PairLogprobs, float, float], "torch.Tensor"]


def sigmoid(pairs: PairLogprobs, beta: float, smoothing: float) -> torch.Tensor:
    """-log sigma(beta d). DPO, arXiv 2305.18290, equation 7. ln 2 where policy = reference."""
    return _softplus(-beta * pairs.difference)


def sigmoid_norm(pairs: PairLogprobs, beta: float, smoothing: float) -> torch.Tensor:
    """DPO on per-token means: length-normalized DPO, Tulu 3, arXiv 2411.15124, equation 6."""
    return _softplus(-beta * pairs.mean_difference)


def hinge(pairs: PairLogprobs, beta: float, smoothing: float) -> torch.Tensor:
    """max(0, 1 - beta d). SLiC, arXiv 2305.10425, in RSO's normalized form, 2309.06657."""
    return (1 - beta * pairs.difference).clamp(min=0)


def ipo(pairs: PairLogprobs, beta: float, smoothing: float) -> torch.Tensor:
    """(d - 1/(2 tau))^2 on per-token means, tau = beta. IPO, arXiv 2310.12036, equation 17."""
    return (pairs.mean_difference - 1 / (2 * beta)) ** 2


def robust(pairs: PairLogprobs, beta: float, smoothing: float) -> torch.Tensor:
    """DPO unbiased under label flips at rate eps. rDPO, arXiv 2403.00409, equation 12."""
    kept, flipped = _softplus(-beta * pairs.difference), _softplus(beta * pairs.difference)
    return ((1 - smoothing) * kept - smoothing * flipped) / (1 - 2 * smoothing)


def exo_pair(pairs: PairLogprobs, beta: float, smoothing: float) -> torch.Tensor:
    """KL from the policy's preference to the smoothed label. EXO, arXiv 2402.00856, eq. 16."""
    win = (beta * pairs.difference).sigmoid()
    log_win, log_lose = -_softplus(-beta * pairs.difference), -_softplus(beta * pairs.difference)
    return win * (log_win - math.log1p(-smoothing)) + (1 - win) * (log_lose - math.log(smoothing))


def nca_pair(pairs: PairLogprobs, beta: float, smoothing: float) -> torch.Tensor:
    """Noise-contrastive alignment for pairs. NCA, arXiv 2402.05369, equation 11."""
    chosen, rejected = beta * pairs.chosen_ratio, beta * pairs.rejected_ratio
    return _softplus(-chosen) + 0.5 * _softplus(chosen) + 0.5 * _softplus(rejected)


def bco_pair(pairs: PairLogprobs, beta: float, smoothing: float) -> torch.Tensor:
    """Binary classifier of chosen and rejected, zero shift. BCO, arXiv 2404.04656, equation 9."""
    return _softplus(-beta * pairs.chosen_ratio) + _softplus(beta * pairs.rejected_ratio)


def sppo_hard(pairs: PairLogprobs, beta: float, smoothing: float) -> torch.Tensor:
    """(c - 1/(2 beta))^2 + (r + 1/(2 beta))^2. SPPO, arXiv 2405.00675, equation 4.7."""
    half = 1 / (2 * beta)
    return (pairs.chosen_ratio - half) ** 2 + (pairs.rejected_ratio + half) ** 2


def aot(pairs: PairLogprobs, beta: float, smoothing: float) -> torch.Tensor:
    """DPO on sorted margins (1-D optimal transport), paired. AOT, arXiv 2406.05882."""
    policy = (pairs.policy_chosen - pairs.policy_rejected).sort().values
    reference = (pairs.reference_chosen - pairs.reference_rejected).sort().values
    return _smoothed(beta * (policy - reference), smoothing)


def aot_unpaired(pairs: PairLogprobs, beta: float, smoothing: float) -> torch.Tensor:
    """AOT between the sorted chosen and the sorted rejected log-ratios. arXiv 2406.05882."""
    difference = pairs.chosen_ratio.sort().values - pairs.rejected_ratio.sort().values
    return _smoothed(beta * difference, smoothing)


def apo_zero(pairs: PairLogprobs, beta: float, smoothing: float) -> torch.Tensor:
    """1 - sigma(beta c) + sigma(beta r). APO-zero, arXiv 2408.06266, equation 7."""
    return 1 - (beta * pairs.chosen_ratio).sigmoid() + (beta * pairs.rejected_ratio).sigmoid()


def apo_down(pairs: PairLogprobs, beta: float, smoothing: float) -> torch.Tensor:
    """sigma(beta c) + 1 - sigma(beta d). APO-down, arXiv 2408.06266, equation 8."""
    return (beta * pairs.chosen_ratio).sigmoid() + 1 - (beta * pairs.difference).sigmoid()


def discopop(pairs: PairLogprobs, beta: float, smoothing: float) -> torch.Tensor:
    """Logistic and exponential losses blended by the margin. DiscoPOP, arXiv 2406.08414, eq. 5."""
    margin = beta * pairs.difference
    blend = (margin / _DISCOPOP_TEMPERATURE).sigmoid()
    return _softplus(-margin) * (1 - blend) + (-margin).exp() * blend


def sft(pairs: PairLogprobs, beta: float, smoothing: float) -> torch.Tensor:
    """Mean negative log-likelihood of the batch's chosen tokens, the NLL of arXiv 2404.19733."""
    mean = -pairs.policy_chosen.sum() / pairs.chosen_tokens.sum()
    return mean.expand(pairs.policy_chosen.shape)


_DISCOPOP_TEMPERATURE = 0.05

LOSSES: Mapping[str, PairLoss] = {
    loss.__name__: loss
    for loss in (
        sigmoid, sigmoid_norm, hinge, ipo, robust, exo_pair, nca_pair, bco_pair, sppo_hard,
        aot, aot_unpaired, apo_zero, apo_down, discopop, sft,
    )
}  # fmt: skip
"""Every loss by TRL's name for it."""


def orpo(
    likelihood: torch.Tensor, chosen: torch.Tensor, rejected: torch.Tensor, weight: float
) -> torch.Tensor:
    """Return ``(B,)`` losses of ORPO, arXiv 2403.07691, equations 6 and 7; there is no reference.

        L_SFT + lambda L_OR,   L_OR = -log sigma(log odds(y_w|x) - log odds(y_l|x))

    with odds(y|x) = P(y|x) / (1 - P(y|x)) and log P(y|x) the mean over the tokens of y.

    Args:
        likelihood: ``(B,)`` or a scalar: L_SFT, a mean negative log-likelihood in nats.
        chosen: ``(B,)`` mean log-prob of the tokens of y_w, below 0.
        rejected: the same of y_l.
        weight: lambda.
    """
    odds = (chosen - rejected) - (_log1mexp(chosen) - _log1mexp(rejected))
    return likelihood + weight * _softplus(-odds)


def mixture(
    pairs: PairLogprobs,
    names: tuple[str, ...],
    weights: tuple[float, ...],
    beta: float,
    smoothing: float,
) -> torch.Tensor:
    """Return the weighted sum of the named losses, each averaged over the batch: a scalar."""
    terms = [
        weight * LOSSES[name](pairs, beta, smoothing).mean()
        for name, weight in zip(names, weights, strict=True)
    ]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def _softplus(x: torch.Tensor) -> torch.Tensor:
    """log(1 + e^x) = -log sigma(-x), stable for large |x|."""
    return x.clamp(min=0) + (-x.abs()).exp().log1p()


def _smoothed(margin: torch.Tensor, smoothing: float) -> torch.Tensor:
    return (1 - smoothing) * _softplus(-margin) + smoothing * _softplus(margin)


def _log1mexp(x: torch.Tensor) -> torch.Tensor:
    """log(1 - e^x) for x < 0, in double precision: near 0 the difference loses its digits."""
    return (-x.double().expm1()).log().to(x.dtype)
