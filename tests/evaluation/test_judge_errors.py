import math

import numpy as np
import pytest

from iterdpo.evaluation.judge_errors import Labeled, correct
from iterdpo.evaluation.resampling import win_rate_ci
from tests.narrowing import bounds, present

Judged = dict[int, list[float]]
Labels = dict[int, list[Labeled]]


def drawn(
    rng: np.random.Generator, prompts: int, labels: int, rate: float, right: tuple[float, float]
) -> tuple[Judged, Labels]:
    """Draw what people prefer, and a judge of sensitivity and specificity ``right``."""
    human = rng.random(prompts) < rate
    judge = human == (rng.random(prompts) < np.where(human, *right))
    both = list(zip(human.astype(float).tolist(), judge.astype(float).tolist(), strict=True))
    return (
        {key: [verdict] for key, (_, verdict) in enumerate(both)},
        {key: [pair] for key, pair in enumerate(both[:labels])},
    )


def repeated(*counted: tuple[int, Labeled]) -> Labels:
    """Return as many labeled prompts of each kind as told."""
    pairs = [pair for count, pair in counted for _ in range(count)]
    return {key: [pair] for key, pair in enumerate(pairs)}


def test_a_written_out_correction() -> None:
    # 16 of 20 wins and 14 of 20 losses are told rightly, and 62 % of all 100 are judged wins:
    # (0.62 + 0.7 - 1) / (0.7 + 0.8 - 1) = 0.64.
    labels = repeated((16, (1, 1)), (4, (1, 0)), (14, (0, 0)), (6, (0, 1)))
    judged = {key: [pair[0][1]] for key, pair in labels.items()}
    judged |= {40 + key: [float(key < 40)] for key in range(60)}
    found = present(correct(judged, labels))
    assert found.judged == win_rate_ci(judged)
    assert (found.sensitivity.mean, found.specificity.mean) == pytest.approx((0.8, 0.7))
    assert (found.sensitivity.n, found.sensitivity.clusters) == (40, 40)
    assert present(found.corrected).mean == pytest.approx(0.64)


def test_the_interval_is_near_the_papers_and_not_wider() -> None:
    # How to Correctly Report LLM-as-a-Judge Evaluations (arXiv 2511.21140), its interval for
    # samples that have nothing in common, here of 2,000 comparisons and 200 labels.
    judged, labels = drawn(np.random.default_rng(3), 2000, 200, 0.6, (0.85, 0.75))
    pairs = [pair for items in labels.values() for pair in items]
    z, n = 1.959964, len(judged)
    wins = sum(human == 1 for human, _ in pairs)
    losses = len(pairs) - wins
    q1 = (sum(pair == (1, 1) for pair in pairs) + 1) / (wins + 2)
    q0 = (sum(pair == (0, 0) for pair in pairs) + 1) / (losses + 2)
    p = (sum(items[0] for items in judged.values()) + z * z / 2) / (n + z * z)
    theta = (p + q0 - 1) / (q0 + q1 - 1)
    of_q0 = q0 * (1 - q0) / (losses + 2)
    of_q1 = q1 * (1 - q1) / (wins + 2)
    middle = theta + 2 * z * z * (theta * of_q1 - (1 - theta) * of_q0)
    spread = p * (1 - p) / (n + z * z) + (1 - theta) ** 2 * of_q0 + theta**2 * of_q1
    half = z * math.sqrt(spread) / (q0 + q1 - 1)
    low, high = bounds(present(correct(judged, labels)).corrected)
    assert (low, high) == pytest.approx((middle - half, middle + half), abs=0.04)
    assert 0.8 < (high - low) / (2 * half) < 1.05


def test_the_truth_is_covered_where_the_judges_own_rate_is_not() -> None:
    rng = np.random.default_rng(0)
    covered = judged_right = 0
    for run in range(200):
        judged, labels = drawn(rng, 300, 100, 0.4, (0.9, 0.7))
        found = present(correct(judged, labels, resamples=300, seed=run))
        low, high = bounds(found.corrected)
        covered += low <= 0.4 <= high
        low, high = bounds(found.judged)
        judged_right += low <= 0.4 <= high
    assert covered >= 184  # 92 %
    assert judged_right < 60


def test_labels_for_everything_give_peoples_own_rate_with_ties() -> None:
    labels = repeated(
        (20, (1, 1)), (5, (1, 0)), (3, (1, 0.5)), (7, (0.5, 0.5)), (4, (0.5, 1)), (12, (0, 0)),
        (4, (0, 0.5)),
    )  # fmt: skip
    judged = {key: [judge for _, judge in items] for key, items in labels.items()}
    people = win_rate_ci({key: [human for human, _ in items] for key, items in labels.items()})
    found = present(present(correct(judged, labels)).corrected)
    assert found.mean == pytest.approx(people.mean)
    assert bounds(found) == pytest.approx(bounds(people), abs=0.04)


def test_a_judge_that_is_always_right_is_believed() -> None:
    judged, labels = drawn(np.random.default_rng(1), 200, 60, 0.7, (1.0, 1.0))
    found = present(correct(judged, labels))
    assert present(found.corrected).mean == pytest.approx(found.judged.mean)
    assert present(found.sensitivity.low) < 0.97  # 40 of 40 are no certainty


def test_exchanging_the_models_mirrors_the_correction() -> None:
    judged, labels = drawn(np.random.default_rng(2), 200, 80, 0.6, (0.9, 0.7))
    turned = correct(
        {key: [1 - value for value in values] for key, values in judged.items()},
        {key: [(1 - human, 1 - judge) for human, judge in own] for key, own in labels.items()},
    )
    here, there = present(correct(judged, labels)), present(turned)
    assert there.sensitivity.mean == pytest.approx(here.specificity.mean)
    found, mirrored = present(here.corrected), present(there.corrected)
    assert mirrored.mean == pytest.approx(1 - found.mean)
    low, high = bounds(found)
    assert bounds(mirrored) == pytest.approx((1 - high, 1 - low), abs=(high - low) / 10)


def test_a_judge_that_is_no_better_than_chance_corrects_nothing() -> None:
    judged, labels = drawn(np.random.default_rng(0), 300, 60, 0.6, (0.5, 0.5))
    assert present(correct(judged, labels)).corrected is None
    assert present(correct(judged, repeated((1, (0.5, 1.0))))).corrected is None
    # Nobody ever preferred the opponent, or said anything: what the judge does there is unknown.
    assert correct(judged, repeated((20, (1, 1)))) is None
    assert correct(judged, {}) is None


@pytest.mark.parametrize(
    ("judged", "labels", "said"),
    [
        ({0: [1.0]}, {1: [(1.0, 1.0)]}, "1 labeled prompts were not judged"),
        ({0: [1.5]}, {0: [(1.0, 1.0)]}, "a preference of 1.5"),
        ({0: [1.0]}, {0: [(1.0, math.nan)]}, "a preference of nan"),
        ({0: [1.0]}, {0: []}, "without any"),
    ],
)  # fmt: skip
def test_bad_labels(judged: Judged, labels: Labels, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        correct(judged, labels)
