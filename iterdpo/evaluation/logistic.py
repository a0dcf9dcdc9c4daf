"""Logistic regression on fractional outcomes, for many resamples at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from iterdpo.evaluation.resampling import Floats

SMALLEST_TIE = 1e-6
"""The least weight of an added win or loss. A gamma of shape 1/2 can come out as 1e-20, which would
put a fit's optimum where floating point cannot follow. One in nine hundred is below 1e-6: too few
to move a percentile of 2.5, and such a fit is beyond it either way."""


def logistic_fit(
    features: Floats,
    outcomes: Floats,
    weights: Floats,
    penalty: Sequence[float],
    start: Floats | None = None,
) -> Floats:
    """Return the coefficients (r, p) of least penalized log-loss for each row of weights (r, n).

    With w a row of weights and λ the penalty, that is the minimum over β of

        -sum over i of w_i · (y_i · log σ(x_i · β) + (1 - y_i) · log σ(-x_i · β))
        + sum over j of λ_j · β_j² / 2

    found by Newton's method with steps of length log(1 + s) / s, where s is the most that a full
    step changes any x_i · β. Each such step lowers the loss, from wherever it starts (it is the
    length that minimizes the upper bound in Self-Concordant Analysis for Logistic Regression, arXiv
    0910.4627, proposition 1); near the minimum it is Newton's own.

    Args:
        features: x, (n, p).
        outcomes: y in [0, 1], (n,).
        weights: w, none negative, (r, n); such that the minimum is finite and unique.
        penalty: λ of each coefficient, p numbers; 0 for none.
        start: of the coefficients, (p,); 0 unless given.

    Raises:
        ArithmeticError: no convergence in 500 steps: there is no finite minimum.
    """
    import numpy as np
    from scipy.special import expit

    products = (features[:, :, None] * features[:, None, :]).reshape(len(features), -1)
    shape = (len(weights), features.shape[1])
    coefficients = np.broadcast_to(0.0 if start is None else start, shape).copy()
    active = np.arange(len(weights))
    for _ in range(500):
        logits = coefficients[active] @ features.T
        win, loss = expit(logits), expit(-logits)
        # Not y - win, which far out is all rounding error.
        gradient = (weights * (outcomes * loss - (1 - outcomes) * win)) @ features
        gradient -= penalty * coefficients[active]
        curvature = ((weights * win * loss) @ products).reshape(-1, shape[1], shape[1])
        step = np.linalg.solve(curvature + np.diag(penalty), gradient[..., None])[..., 0]
        change = np.abs(step @ features.T).max(axis=1)
        coefficients[active] += step * (np.log1p(change) / np.maximum(change, 1e-300))[:, None]
        moving = change > 1e-5  # what is left of the way is its square
        if not moving.any():
            return coefficients
        active, weights = active[moving], weights[moving]
    raise ArithmeticError("a logistic fit did not converge in 500 steps: no finite minimum")
