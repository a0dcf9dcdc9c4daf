"""All tokens of a canary together, against written-out arithmetic and against simulated noise."""

from __future__ import annotations

import math
import random

import pytest

from iterdpo.engines.applied_share import CLEAR, Power, applied_share, power_of
from iterdpo.engines.canary import CanaryCheck, CanaryResult, outcome_of
from iterdpo.models.canary import Canary, CanaryText

TEXTS, TOKENS, NOISE = 64, 20, 0.04
Values = list[list[float]]


def power(error_before: float, error_after: float, bias: float = 0.0) -> Power:
    return Power(1, False, error_before, error_after, bias)


def test_without_noise_the_slope_is_what_of_the_movement_is_there() -> None:
    moved, silent = [[1.0, -1.0], [2.0]], [[0.0, 0.0], [0.0]]
    tokens = power_of(moved, silent, 1e-9, groups=1)
    assert (tokens.block, tokens.pooled) == (1, False)
    for share in (1.0, 0.0, 0.25):
        now = [[share * x for x in text] for text in moved]
        assert applied_share(tokens, moved, now, silent, 1e-9, 1) == pytest.approx(share)


def test_the_errors_are_those_of_the_arithmetic() -> None:
    # Two texts of one token: sum x^2 = 9 + 16, noise 0.6 and 0.8, so v = (0.36 + 0.64) / 2 each and
    # S = 25 - 1. Var(sum x y) = 25 v before; after, S v and twice the sum of v^2 come on top.
    found = power_of([[3.0], [-4.0]], [[0.6], [-0.8]], 1e-9, groups=2)
    assert (found.block, found.pooled) == (1, False)
    assert found.error_before == pytest.approx(math.sqrt(25 * 0.5) / 24)
    assert found.error_after == pytest.approx(math.sqrt(25 * 0.5 + 24 * 0.5 + 2 * 0.5) / 24)
    assert found.bias == pytest.approx(1 / 24)
    share = applied_share(found, [[3.0], [-4.0]], [[2.0], [-5.0]], [[0.6], [-0.8]], 1e-9, 2)
    assert share == pytest.approx((3 * 2 + 4 * 5) / 24)


def test_a_canary_tells_where_both_errors_fit_between_the_policies() -> None:
    assert power(0.4 / CLEAR, 0.5 / CLEAR, 0.09).tells
    assert not power(0.4 / CLEAR, 0.5 / CLEAR, 0.11).tells
    # What is left over lies to both sides of the threshold alike.
    assert power(0.4 / CLEAR, 0.5 / CLEAR).threshold == pytest.approx(0.4 + 0.05)
    # Errors fall with the root of the texts: twice too large, four times as many.
    assert power(1.0 / CLEAR, 1.0 / CLEAR).texts_needed(10) == 40
    assert power(1.0 / CLEAR, 1.0 / CLEAR, 1.0).texts_needed(10) is None


@pytest.mark.parametrize(
    ("share", "trained", "outcome"),
    [
        (1.0, True, "applied"), (0.0, True, "other"), (1.9, True, "neither"),
        (-0.9, True, "neither"), (0.0, False, "applied"), (1.0, False, "other"),
        (-0.9, False, "neither"), (0.46, True, "applied"), (0.44, True, "other"),
    ],
)  # fmt: skip
def test_a_slope_belongs_to_the_nearer_policy_or_to_none(
    share: float, trained: bool, outcome: str
) -> None:
    assert outcome_of(share, power(0.4 / CLEAR, 0.5 / CLEAR), trained=trained) == outcome


def drawn(rng: random.Random, moved: str, size: float) -> tuple[CanaryCheck, Values]:
    """Return a canary of M1, with noise of ``NOISE`` a token between the two sides, and the
    movements without it."""
    side = NOISE / math.sqrt(2)
    texts, moves = [], []
    for number in range(TEXTS):
        sign = 1 - 2 * (number % 2)
        if moved == "alike":
            true = [sign * size / TOKENS] * TOKENS
        else:
            true = [rng.gauss(0, size / math.sqrt(TOKENS)) for _ in range(TOKENS)]
        before = [rng.gauss(0, side) for _ in true]
        after = [x + rng.gauss(0, side) for x in true]
        engine = [rng.gauss(0, side) for _ in true]
        ids = tuple(range(TOKENS))
        texts.append(CanaryText((1,), ids, tuple(before), tuple(after), tuple(engine)))
        moves.append(true)
    noise = max(abs(sum(t.before) - sum(t.engine)) for t in texts)
    canary = Canary(tuple(texts), noise, 1e-4, groups=2)
    return CanaryCheck(canary, "M0", trained=True), moves


def asked(rng: random.Random, check: CanaryCheck, moves: Values) -> CanaryResult:
    """Return what is found of an engine whose answers moved so."""
    side = NOISE / math.sqrt(2)
    return check.judge([[x + rng.gauss(0, side) for x in text] for text in moves])


def times(share: float, moves: Values) -> Values:
    return [[share * x for x in text] for text in moves]


@pytest.mark.parametrize(("moved", "size"), [("alike", 0.36), ("to and fro", 0.3)])
def test_an_adapter_that_no_text_shows_is_found_by_all_of_them(moved: str, size: float) -> None:
    """Noise of 0.18 a text, and movements of twice that: single texts tell nothing."""
    rng = random.Random(moved)
    decided = 0
    for _ in range(40):
        check, moves = drawn(rng, moved, size)
        right, absent = (asked(rng, check, times(share, moves)) for share in (1.0, 0.0))
        if right.outcome == "inconclusive":
            assert absent.outcome == "inconclusive"
            assert right.texts_needed is None or right.texts_needed > TEXTS
            continue
        decided += 1
        assert (right.outcome, absent.outcome) == ("applied", "other")
        assert right.share == pytest.approx(1, abs=0.6)
    assert decided > 30


def test_a_movement_that_is_lost_in_the_noise_decides_nothing() -> None:
    rng = random.Random(0)
    result = asked(rng, *drawn(rng, "alike", 0.01))
    assert (result.outcome, result.share) == ("inconclusive", None)


def test_two_policies_in_one_call_are_told_text_by_text() -> None:
    rng = random.Random(0)
    check, moves = drawn(rng, "alike", 3.0)
    mixed = [[(number % 4 > 0) * x for x in text] for number, text in enumerate(moves)]
    result = asked(rng, check, mixed)
    assert (result.outcome, result.astray) == ("mixed", TEXTS // 4)
