import math

import numpy as np
import pytest
import scipy.optimize
from scipy.special import expit

from iterdpo.evaluation.length_control import Lengths, length_controlled
from iterdpo.evaluation.resampling import win_rate_ci
from tests.narrowing import bounds, present

Comparisons = dict[int, list[Lengths]]


def drawn(
    rng: np.random.Generator, prompts: int, each: int, better: float, length: float, longer: float
) -> Comparisons:
    """Draw comparisons from the model itself, θ = ``better`` and φ = ``length``."""
    own = rng.lognormal(4 + longer, 0.5, size=(prompts, each)).round()
    other = rng.lognormal(4, 0.5, size=(prompts, each)).round()
    gap = own - other
    chance = expit(better + length * np.tanh(gap / gap.std(ddof=1)))
    outcomes = (rng.random((prompts, each)) < chance).astype(float)
    rows = np.stack([outcomes, own, other], axis=2).tolist()
    return {key: [(p, a, b) for p, a, b in row] for key, row in enumerate(rows)}


def raw(comparisons: Comparisons) -> dict[int, list[float]]:
    return {key: [item[0] for item in items] for key, items in comparisons.items()}


def test_agrees_with_a_general_minimizer() -> None:
    rng = np.random.default_rng(0)
    comparisons = drawn(rng, 40, 1, 0.5, 1.0, 0.3)
    preference, own, other = np.array([items[0] for items in comparisons.values()]).T
    gap = np.tanh((own - other) / np.std(own - other, ddof=1))

    def loss(beta: np.ndarray) -> float:
        logits = beta[0] + beta[1] * gap
        log_loss = preference * np.logaddexp(0, -logits) + (1 - preference) * np.logaddexp(
            0, logits
        )
        tie = (np.logaddexp(0, -beta[0]) + np.logaddexp(0, beta[0])) / 2
        return float(log_loss.sum() + tie + beta[1] ** 2 / 2.5**2 / 2)

    best = scipy.optimize.minimize(loss, np.zeros(2), tol=1e-12).x
    assert present(length_controlled(comparisons)).mean == pytest.approx(expit(best[0]), abs=1e-6)


def test_it_takes_away_what_length_won() -> None:
    # Two equal models, but one writes longer and the judge likes that.
    comparisons = drawn(np.random.default_rng(0), 1000, 1, 0.0, 1.5, 0.6)
    assert present(win_rate_ci(raw(comparisons)).low) > 0.6
    low, high = bounds(length_controlled(comparisons))
    assert low < 0.5 < high
    assert high - low < 0.12


def test_equal_models_of_different_length_seldom_differ() -> None:
    rng = np.random.default_rng(0)
    alarms = raw_alarms = 0
    for run in range(600):
        comparisons = drawn(rng, 80, 1, 0.0, 1.0, 0.4)
        low, high = bounds(length_controlled(comparisons, resamples=300, seed=run))
        alarms += not low <= 0.5 <= high
        raw_alarms += present(win_rate_ci(raw(comparisons), resamples=300).low) > 0.5
    assert alarms <= 39  # 6.5 %
    assert raw_alarms > 150


def test_the_truth_is_covered_at_its_level() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for run in range(600):
        comparisons = drawn(rng, 80, 1, -1.5, -0.8, 0.3)
        low, high = bounds(length_controlled(comparisons, resamples=300, seed=run))
        covered += low <= expit(-1.5) <= high
    assert 558 <= covered <= 582  # 93 to 97 %


def test_equally_long_answers_leave_the_win_rate() -> None:
    comparisons = {key: [(float(key % 3 > 0), 10.0 * key, 10.0 * key)] for key in range(30)}
    expected = win_rate_ci(raw(comparisons), resamples=100, seed=2)
    assert length_controlled(comparisons, resamples=100, seed=2) == expected


def test_always_as_much_longer_tells_nothing() -> None:
    comparisons = {key: [(1.0, key + 15.0, key + 10.0)] for key in range(30)}
    assert length_controlled(comparisons) is None


def test_swapping_the_models_mirrors_it() -> None:
    comparisons = drawn(np.random.default_rng(3), 50, 2, 0.7, 1.0, 0.5)
    turned = {k: [(1 - p, b, a) for p, a, b in items] for k, items in comparisons.items()}
    here, there = present(length_controlled(comparisons)), present(length_controlled(turned))
    assert there.mean == pytest.approx(1 - here.mean)
    low, high = bounds(here)
    assert (there.low, there.high) == pytest.approx((1 - high, 1 - low), abs=(high - low) / 10)


def test_the_unit_of_length_does_not_matter() -> None:
    comparisons = drawn(np.random.default_rng(3), 50, 1, 0.7, 1.0, 0.5)
    times = {k: [(p, 4 * a, 4 * b) for p, a, b in items] for k, items in comparisons.items()}
    here, there = present(length_controlled(comparisons)), present(length_controlled(times))
    assert (there.mean, there.low) == pytest.approx((here.mean, here.low))


@pytest.mark.parametrize("winner", ["model", "longer"])
def test_finite_where_nothing_is_lost(winner: str) -> None:
    rng = np.random.default_rng(0)
    pairs = rng.integers(5, 50, size=(50, 2)).astype(float)
    comparisons = {
        key: [(1.0 if winner == "model" else (0.5 if a == b else float(a > b)), a, b)]
        for key, (a, b) in enumerate(pairs.tolist())
    }
    estimate = present(length_controlled(comparisons))
    low, high = bounds(estimate)
    if winner == "model":
        assert 0.9 < low < estimate.mean < high <= 1
    else:
        assert low < 0.5 < high


def test_every_prompt_weighs_the_same() -> None:
    base = drawn(np.random.default_rng(5), 40, 1, 0.3, 0.5, 0.2)
    copied = {key: items * (5 if items[0][0] == 1 else 1) for key, items in base.items()}
    once, often = present(length_controlled(base)), present(length_controlled(copied))
    # Copies change only the spread of the lengths that the tanh is scaled by.
    assert often.mean == pytest.approx(once.mean, abs=0.01)
    assert (often.low, often.high) == pytest.approx((once.low, once.high), abs=0.03)
    assert (often.n, often.clusters) == (sum(map(len, copied.values())), 40)
    assert present(length_controlled({0: [(1.0, 5, 4), (0.0, 3, 9)]})).low is None


@pytest.mark.parametrize(
    ("comparison", "said"),
    [
        ((1.2, 5, 5), "a preference of 1.2"),
        ((math.nan, 5, 5), "a preference of nan"),
        ((1.0, -1, 5), "a length that is negative"),
        ((1.0, 5, math.inf), "not finite"),
    ],
)
def test_bad_comparisons(comparison: Lengths, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        length_controlled({0: [(0.5, 3, 4)], 1: [comparison]})
    with pytest.raises(ValueError, match="without any"):
        length_controlled({0: []})
