from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.optimize
from hypothesis import given
from hypothesis import strategies as st

from iterdpo.evaluation.logistic import logistic_fit


def loss(beta: Any, features: Any, outcomes: Any, weights: Any, penalty: Any) -> Any:
    logits = features @ beta
    log_loss = outcomes * np.logaddexp(0, -logits) + (1 - outcomes) * np.logaddexp(0, logits)
    return weights @ log_loss + penalty @ beta**2 / 2


def test_agrees_with_a_general_minimizer() -> None:
    rng = np.random.default_rng(0)
    features = np.stack([np.ones(40), rng.normal(size=40), rng.normal(size=40)], axis=1)
    outcomes = rng.choice([0, 0.3, 0.5, 1], size=40)
    weights = rng.exponential(size=(5, 40))
    penalty = [0, 0.5, 2]
    fits = logistic_fit(features, outcomes, weights, penalty)
    for fit, row in zip(fits, weights, strict=True):
        best = scipy.optimize.minimize(
            loss, np.zeros(3), args=(features, outcomes, row, np.array(penalty)), tol=1e-12
        )
        assert fit == pytest.approx(best.x, abs=1e-5)


def test_by_hand() -> None:
    # One coefficient, weights 3 and 1: the odds are 3. With λ = 2 the slope 3 - 4σ(β) - 2β is 0
    # at β = 0.3346: σ = 0.58288, 3 - 2.33152 - 0.6692 = -0.0007.
    features, outcomes, weights = np.ones((2, 1)), np.array([1.0, 0.0]), np.array([[3.0, 1.0]])
    assert logistic_fit(features, outcomes, weights, [0.0])[0, 0] == pytest.approx(np.log(3))
    assert logistic_fit(features, outcomes, weights, [2.0])[0, 0] == pytest.approx(0.3346, abs=5e-4)


@given(st.floats(1e-6, 1), st.floats(-25, 25))
def test_converges_from_afar_and_far_out(tie: float, start: float) -> None:
    features, outcomes = np.ones((2, 1)), np.array([1.0, 0.0])
    fit = logistic_fit(features, outcomes, np.array([[100.0, tie]]), [0.0], np.array([start]))
    assert fit[0, 0] == pytest.approx(np.log(100 / tie), rel=1e-6)


def test_rows_are_fitted_apart() -> None:
    rng = np.random.default_rng(0)
    features = np.stack([np.ones(20), rng.normal(size=20)], axis=1)
    outcomes, weights = rng.random(20), rng.exponential(size=(8, 20)) ** 4
    together = logistic_fit(features, outcomes, weights, [0.0, 0.1])
    alone = [logistic_fit(features, outcomes, row[None], [0.0, 0.1])[0] for row in weights]
    assert together == pytest.approx(np.array(alone), abs=1e-9)


def test_no_minimum() -> None:
    with pytest.raises(ArithmeticError, match="no finite minimum"):
        logistic_fit(np.ones((2, 1)), np.ones(2), np.ones((1, 2)), [0.0])
