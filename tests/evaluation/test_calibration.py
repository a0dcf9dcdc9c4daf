from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iterdpo.evaluation.calibration import Bin, calibration, calibration_error
from tests.narrowing import near


def test_by_hand() -> None:
    prompts: list[list[tuple[float | None, float]]] = [
        [(0.5, 1), (1.0, 3), (None, 5)],
        [(4.9, 4), (5.0, 5), (1.9, 2)],
    ]
    bins = calibration(prompts, bins=5)
    assert bins == (
        Bin(0, 1, 1, 0.5, 1),
        Bin(1, 2, 2, near(1.45), 2.5),  # a bin holds its lower edge
        Bin(4, 5, 2, near(4.95), 4.5),  # and the last one its upper edge too
    )
    # (1 · 0.5 + 2 · 1.05 + 2 · 0.45) / 5
    assert calibration_error(bins) == pytest.approx(0.7)


def test_any_scale() -> None:
    bins = calibration([[(-1, 0.0), (0.2, 1.0)]], low=-1, high=1, bins=4)
    assert bins == (Bin(-1, -0.5, 1, -1, 0), Bin(0, 0.5, 1, 0.2, 1))


def test_nothing_judged() -> None:
    assert calibration([[(None, 3)], []]) == ()
    assert calibration_error(()) is None


@pytest.mark.parametrize("score", [5.01, -0.01, math.nan])
def test_outside_the_scale(score: float) -> None:
    with pytest.raises(ValueError, match="a judged score of"):
        calibration([[(score, 3)]])


def test_the_last_digit_of_an_expected_score_is_forgiven() -> None:
    assert calibration([[(5 + 1e-12, 5), (-1e-12, 0)]], bins=2) == (
        Bin(0, 2.5, 1, near(0), 0),
        Bin(2.5, 5, 1, near(5), 5),
    )


@pytest.mark.parametrize(("low", "high", "bins"), [(5, 5, 10), (5, 0, 10), (0, 5, 0)])
def test_no_room_for_bins(low: float, high: float, bins: int) -> None:
    with pytest.raises(ValueError, match="bins from"):
        calibration([], low, high, bins)


SCORE = st.floats(0, 5)


@given(st.lists(st.lists(st.tuples(SCORE, SCORE), max_size=6), max_size=6), st.integers(1, 12))
def test_every_answer_is_in_the_bin_that_its_score_lies_in(prompts: Any, bins: int) -> None:
    found = calibration(prompts, bins=bins)
    assert sum(item.n for item in found) == sum(map(len, prompts))
    assert all(item.low - 1e-9 <= item.judged <= item.high + 1e-9 for item in found)
    assert list(found) == sorted(found, key=lambda item: item.low)
    own = calibration([[(gold, gold) for _, gold in answers] for answers in prompts], bins=bins)
    assert calibration_error(own) in (None, pytest.approx(0, abs=1e-12))
