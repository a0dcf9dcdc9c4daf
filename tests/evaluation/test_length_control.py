import json
import math
import os
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest
import scipy.optimize
from scipy.special import expit

from iterdpo.evaluation.length_control import Lengths, length_controlled
from iterdpo.evaluation.resampling import win_rate_ci
from tests.narrowing import bounds, present

Comparisons = dict[int, list[Lengths]]


def drawn(
    rng: np.random.Generator,
    prompts: int,
    each: int,
    better: float,
    length: float,
    longer: float,
    relative: bool = False,
) -> Comparisons:
    """Draw comparisons from the model itself, θ = ``better`` and φ = ``length``.

    ``longer`` makes the share Φ(longer / 0.71) of the model's answers that
    are the longer ones.
    """
    own = rng.lognormal(4 + longer, 0.5, size=(prompts, each)).round()
    other = rng.lognormal(4, 0.5, size=(prompts, each)).round()
    gap = (own - other) / (own + other if relative else 1)
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
    comparisons = drawn(np.random.default_rng(0), 1000, 1, 0.0, 1.5, 0.4)
    assert present(win_rate_ci(raw(comparisons)).low) > 0.57
    low, high = bounds(length_controlled(comparisons))
    assert low < 0.5 < high
    assert high - low < 0.12


def test_equal_models_of_different_length_seldom_differ() -> None:
    rng = np.random.default_rng(0)
    alarms = raw_alarms = 0
    for run in range(400):
        comparisons = drawn(rng, 150, 1, 0.0, 1.5, 0.1)
        low, high = bounds(length_controlled(comparisons, resamples=200, seed=run))
        alarms += not low <= 0.5 <= high
        raw_alarms += present(win_rate_ci(raw(comparisons), resamples=200).low) > 0.5
    assert alarms <= 28  # 7 %
    assert raw_alarms > 40


@pytest.mark.parametrize("relative", [False, True])
def test_the_truth_is_covered_at_its_level(relative: bool) -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for run in range(400):
        comparisons = drawn(rng, 100, 1, -1.5, -0.8, 0.1, relative)
        low, high = bounds(length_controlled(comparisons, resamples=200, seed=run))
        covered += low <= expit(-1.5) <= high
    assert 372 <= covered <= 388  # 93 to 97 %


def test_equally_long_answers_leave_the_win_rate() -> None:
    comparisons = {key: [(float(key % 3 > 0), 10.0 * key, 10.0 * key)] for key in range(30)}
    expected = win_rate_ci(raw(comparisons), resamples=100, seed=2)
    assert length_controlled(comparisons, resamples=100, seed=2) == expected


@pytest.mark.parametrize("longer", [24, 25, 75, 76])
def test_nothing_is_estimated_where_a_side_is_seldom_the_longer_one(longer: int) -> None:
    comparisons = {key: [(float(key % 2), 5.0 + 2 * (key < longer), 6.0)] for key in range(100)}
    turned = {key: [(1 - p, b, a) for p, a, b in items] for key, items in comparisons.items()}
    for found in (length_controlled(comparisons), length_controlled(turned)):
        assert (found is not None) == (25 <= longer <= 75)


def test_equal_lengths_count_half_and_prompts_the_same_in_the_overlap() -> None:
    shorter, equal, longer = (1.0, 5.0, 6.0), (0.0, 6.0, 6.0), (0.0, 9.0, 6.0)
    assert length_controlled({0: [shorter], 1: [equal]}) is not None  # 1/4 longer
    assert length_controlled({0: [shorter], 1: [shorter], 2: [equal]}) is None  # 1/6
    assert length_controlled({0: [shorter] * 9, 1: [longer], 2: [shorter]}) is not None  # 1/3
    assert length_controlled({0: [(1.0, 5.0, 6.0)]}) is None


@pytest.mark.parametrize("relative", [False, True])
def test_the_truth_is_covered_whichever_difference_the_judge_sees(relative: bool) -> None:
    # Answers to one prompt are alike in length, and those to different prompts are not: a hundred
    # tokens more are much for a short answer. By absolute differences alone, 6 of 40 intervals
    # hold a truth of relative ones.
    rng = np.random.default_rng(7)
    covered = 0
    for run in range(40):
        lengths = np.exp(5 + rng.normal(0, 1, (800, 1)) + rng.normal((0.25, 0), 0.4, (800, 2)))
        gap = lengths[:, 0] - lengths[:, 1]
        gap = gap / lengths.sum(1) if relative else gap
        chance = expit(-0.5 + 2 * np.tanh(gap / gap.std(ddof=1)))
        outcomes = (rng.random(800) < chance).astype(float)
        rows = np.column_stack([outcomes, lengths]).tolist()
        comparisons = {key: [(p, own, other)] for key, (p, own, other) in enumerate(rows)}
        low, high = bounds(length_controlled(comparisons, resamples=150, seed=run))
        covered += low <= expit(-0.5) <= high
    assert covered >= 36


def test_swapping_the_models_mirrors_it() -> None:
    comparisons = drawn(np.random.default_rng(3), 50, 2, 0.7, 1.0, 0.2)
    turned = {k: [(1 - p, b, a) for p, a, b in items] for k, items in comparisons.items()}
    here, there = present(length_controlled(comparisons)), present(length_controlled(turned))
    assert there.mean == pytest.approx(1 - here.mean)
    low, high = bounds(here)
    assert (there.low, there.high) == pytest.approx((1 - high, 1 - low), abs=1e-9)


def test_the_unit_of_length_does_not_matter() -> None:
    comparisons = drawn(np.random.default_rng(3), 50, 1, 0.7, 1.0, 0.2)
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


@pytest.fixture(scope="module")
def leaderboard() -> list[dict[str, Any]]:
    """Annotations of AlpacaEval 2, a model a line, with the figures published for it."""
    if "ITERDPO_SHARED_DATA" not in os.environ:
        pytest.skip("set ITERDPO_SHARED_DATA to the directory of alpaca_eval_lc.jsonl")
    file = Path(os.environ["ITERDPO_SHARED_DATA"]) / "alpaca_eval_lc.jsonl"
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def test_rates_of_the_leaderboard_lie_inside_or_are_not_estimated(
    leaderboard: list[dict[str, Any]],
) -> None:
    estimated = 0
    for entry in leaderboard:
        published = entry["published"]
        rows = [(preference - 1, own, other) for preference, own, other, _ in entry["rows"]]
        comparisons = {place: [row] for place, row in enumerate(rows)}
        turned = {place: [(1 - p, b, a)] for place, (p, a, b) in enumerate(rows)}
        rate = win_rate_ci(raw(comparisons), resamples=100)
        assert 100 * rate.mean == pytest.approx(published["win_rate"], abs=0.01)
        found, mirrored = length_controlled(comparisons), length_controlled(turned)
        longer = fmean(float(own > other) for _, own, other in rows)
        assert (found is None) == (mirrored is None) == (longer < 0.2)
        if found and mirrored:
            low, high = bounds(found)
            assert low <= published["length_controlled_winrate"] / 100 <= high <= low + 0.08
            assert (mirrored.mean, *bounds(mirrored)) == pytest.approx(
                (1 - found.mean, 1 - high, 1 - low)
            )
            estimated += 1
    assert estimated == 3
