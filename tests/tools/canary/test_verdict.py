"""A server's log-probs against those of both policies: written-out arithmetic, simulated noise."""

from __future__ import annotations

import math
import random

import pytest

from iterdpo.tools.canary.verdict import ServedVerdict, judge_served

Values = list[list[float]]
TEXTS, TOKENS = 16, 24


def judged(
    served: Values, adapted: Values, base: Values, noise: float | None = 0.0, exact: bool = True
) -> ServedVerdict:
    return judge_served(served, adapted, base, noise=noise, exact=exact)


def drawn(rng: random.Random, moved: float, texts: int = TEXTS) -> tuple[Values, Values]:
    """Return a base's log-probs and an adapter's movement of them."""
    base = [[rng.uniform(-4, -0.1) for _ in range(TOKENS)] for _ in range(texts)]
    return base, [[rng.gauss(0, moved) for _ in row] for row in base]


def plus(rows: Values, others: Values, share: float = 1.0) -> Values:
    return [
        [one + share * other for one, other in zip(row, more, strict=True)]
        for row, more in zip(rows, others, strict=True)
    ]


def noisy(rng: random.Random, rows: Values, deviation: float) -> Values:
    return [[value + rng.gauss(0, deviation) for value in row] for row in rows]


@pytest.mark.parametrize(
    ("share", "outcome"), [(1.0, "applied"), (0.0, "not applied"), (0.5, "another"),
                           (0.8, "another"), (-1.0, "another"), (2.0, "another")],
)  # fmt: skip
def test_without_noise_the_share_is_what_of_the_adapter_is_there(
    share: float, outcome: str
) -> None:
    base, moves = drawn(random.Random(0), 0.1)
    found = judged(plus(base, moves, share), plus(base, moves), base)
    assert found.share == pytest.approx(share)
    assert (found.outcome, found.texts, found.tokens) == (outcome, TEXTS, TEXTS * TOKENS)
    assert found.moved == pytest.approx(
        math.sqrt(sum(x * x for row in moves for x in row) / found.tokens)
    )


def test_share_and_error_are_those_of_the_arithmetic() -> None:
    # x = 1, -1 and 2, m - b = 1.2, -0.9 and 2.1: sum x (m - b) = 6.3, sum x^2 = 6.
    found = judged([[0.2, -0.9], [1.1]], [[0.0, -1.0], [1.0]], [[-1.0, 0.0], [-1.0]], noise=1.0)
    assert found.share == pytest.approx(6.3 / 6)
    # x (m - a) by text: 0.2 - 0.1 and 0.2, whose variance is 0.005, twice.
    assert found.error == pytest.approx(math.sqrt(2 * 0.005) / 6)
    assert found.left == pytest.approx(math.sqrt((0.04 + 0.01 + 0.01) / 3))


def test_noise_of_what_is_computed_here_pulls_both_policies_to_the_middle() -> None:
    """As large as the movement, S = A = B: 2/3 and 1/3 in place of 1 and 0, and nobody is wrong."""
    rng = random.Random(1)
    shares = {1.0: 0.0, 0.0: 0.0}
    for _ in range(20):
        base, moves = drawn(rng, 0.05, texts=64)
        adapted, here = noisy(rng, plus(base, moves), 0.05), noisy(rng, base, 0.05)
        for share in shares:
            served = noisy(rng, plus(base, moves, share), 0.05)
            found = judged(served, adapted, here, noise=0.07, exact=False)
            assert found.outcome in ("inconclusive", "applied" if share else "not applied")
            shares[share] += found.share / 20
    assert (shares[1.0], shares[0.0]) == pytest.approx((2 / 3, 1 / 3), abs=0.02)


@pytest.mark.parametrize("share", [1.0, 0.0])
def test_noise_as_large_as_the_movement_leaves_the_verdict(share: float) -> None:
    rng = random.Random(2)
    for _ in range(30):
        base, moves = drawn(rng, 0.04, texts=64)
        served = noisy(rng, plus(base, moves, share), 0.04)
        found = judged(served, plus(base, moves), base, noise=0.04)
        assert found.outcome == ("applied" if share else "not applied")
        assert found.share == pytest.approx(share, abs=5 * found.error)


def test_where_texts_do_not_tell_the_number_is_given_that_would() -> None:
    rng = random.Random(3)
    for _ in range(10):
        base, moves = drawn(rng, 0.008)
        found = judged(noisy(rng, plus(base, moves), 0.04), plus(base, moves), base, noise=0.04)
        assert found.outcome == "inconclusive"
        assert found.texts_needed is not None
        assert found.texts_needed > TEXTS
        base, moves = drawn(rng, 0.008, texts=found.texts_needed)
        more = judged(noisy(rng, plus(base, moves), 0.04), plus(base, moves), base, noise=0.04)
        assert more.outcome == "applied"


def test_a_movement_that_is_all_noise_here_is_decided_by_no_number_of_texts() -> None:
    rng = random.Random(4)
    base, _ = drawn(rng, 0.0)
    values = [noisy(rng, base, 0.04) for _ in range(3)]
    found = judged(values[0], values[1], values[2], noise=0.06, exact=False)
    assert (found.outcome, found.texts_needed) == ("inconclusive", None)


def test_texts_of_two_policies_are_told() -> None:
    rng = random.Random(5)
    base, moves = drawn(rng, 0.2)
    kept = [row if number % 4 else [0.0] * TOKENS for number, row in enumerate(moves)]
    found = judged(noisy(rng, plus(base, kept), 0.01), plus(base, moves), base, noise=0.01)
    assert found.outcome == "mixed"


@pytest.mark.parametrize(("noise", "outcome"), [(0.02, "another"), (None, "applied")])
def test_what_is_left_may_not_be_more_than_the_server_shows_on_its_base(
    noise: float | None, outcome: str
) -> None:
    """Another adapter, that agrees with this one as far as it goes and goes on from there."""
    rng = random.Random(6)
    base, moves = drawn(rng, 0.3, texts=64)
    served = noisy(rng, plus(base, moves), 0.1)
    assert judged(served, plus(base, moves), base, noise).outcome == outcome


@pytest.mark.parametrize("share", [0.5, 2.0, -1.0])
def test_a_share_of_neither_policy_is_told_where_the_noise_would_hide_what_is_left(
    share: float,
) -> None:
    rng = random.Random(7)
    base, moves = drawn(rng, 0.04, texts=64)
    found = judged(noisy(rng, plus(base, moves, share), 0.04), plus(base, moves), base, noise=0.04)
    assert found.left < 2 * 0.04
    assert found.outcome == "another"
