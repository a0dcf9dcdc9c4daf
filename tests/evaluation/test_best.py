"""Which model a run names: the earliest that no other is significantly better than."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iterdpo.evaluation.best import EVEN, best_model, gain, outcome_gain
from iterdpo.evaluation.resampling import win_rate_ci
from tests.narrowing import bounds, present


def by_prompt(*values: float) -> dict[str, tuple[float, ...]]:
    return {f"p{number}": (value,) for number, value in enumerate(values)}


FLAT = by_prompt(1, 2, 3, 4, 3, 2)
BETTER = by_prompt(2, 3, 4, 5, 4, 3.5)  # one point more everywhere, and a bit
NOISY = by_prompt(4, 1, 5, 5, 2, 5)  # the highest mean, by luck


def test_a_clear_gain_names_the_top() -> None:
    found = best_model({"M0": FLAT, "M1": BETTER}, "oracle")
    assert (found.model, found.by) == ("M1", "oracle")
    assert found.why == (
        "the highest quality by the oracle, 3.58; a later model beats each earlier one"
    )


def test_a_lead_that_may_be_chance_names_the_earlier_model() -> None:
    # Means 21.5/6 and 22/6; the differences 2, -2, 1, 0, -2, 1.5 are all over the place. M2 does
    # not beat M0 either, but M1 does.
    found = best_model({"M0": FLAT, "M1": BETTER, "M2": NOISY}, "oracle")
    assert found.model == "M1"
    assert found.why.startswith(
        "the earliest model that none beats significantly: the lead of M2, the highest quality by "
        "the oracle, is +0.0833 (-"
    )


def test_a_run_whose_gains_are_chance_names_m0() -> None:
    assert best_model({"M0": FLAT, "M1": NOISY}, "oracle").model == "M0"


def test_a_few_wins_without_a_loss_prove_nothing() -> None:
    def outcomes(value: float, prompts: int) -> dict[str, tuple[float, ...]]:
        return by_prompt(*[value] * prompts)

    few = {"M0": outcomes(EVEN, 2), "M1": outcomes(1, 2)}
    assert best_model(few, "head_to_head").model == "M0", "two wins of two are chance"
    many = {"M0": outcomes(EVEN, 20), "M1": outcomes(1, 20)}
    assert best_model(many, "head_to_head").model == "M1", "twenty of twenty are not"
    # M2 wins everywhere, M1 nowhere: as far apart as two models can be.
    apart = {"M0": outcomes(EVEN, 20), "M1": outcomes(0, 20), "M2": outcomes(1, 20)}
    found = outcome_gain(apart["M2"], apart["M1"])
    assert found.mean == 1
    assert 0 < present(found.low) < 1
    assert best_model(apart, "head_to_head").model == "M2"


def test_the_gain_over_an_even_opponent_is_the_win_rate_less_a_half() -> None:
    wins = by_prompt(1, 1, 0, 0.5, 1, 1, 0)
    rate, found = win_rate_ci(wins), outcome_gain(wins, dict.fromkeys(wins, (EVEN,)))
    low, high = bounds(rate)
    assert (found.mean, found.low, found.high) == pytest.approx(
        (rate.mean - 0.5, low - 0.5, high - 0.5)
    )
    turned = outcome_gain(dict.fromkeys(wins, (EVEN,)), wins)
    assert turned.mean == pytest.approx(-found.mean)
    with pytest.raises(ValueError, match="different prompts"):
        outcome_gain(wins, by_prompt(1))


def test_a_later_fall_changes_nothing() -> None:
    found = best_model({"M0": FLAT, "M1": BETTER, "M2": FLAT}, "oracle")
    assert found.model == "M1"
    assert best_model({"M0": BETTER, "M1": FLAT}, "judge").why == (
        "the highest mean score by the model's own judgment, 3.58: no later model is better"
    )


def test_without_an_interval_nothing_is_significant() -> None:
    assert best_model({"M0": by_prompt(1), "M1": by_prompt(5)}, "oracle").model == "M0"


def test_models_are_compared_on_the_prompts_they_share() -> None:
    wide = {**FLAT, "alone": (100.0,)}
    assert best_model({"M0": wide, "M1": BETTER}, "oracle").model == "M1"
    found = best_model({"M0": {"p": (1.0,)}, "M1": {"q": (2.0,)}}, "oracle")
    assert found.model == "M0"
    assert "no prompt has a value for every model" in found.why


def test_a_model_that_nobody_could_compare_is_out_of_the_running() -> None:
    assert best_model({"M0": FLAT, "M1": {}, "M2": BETTER}, "oracle").model == "M2"
    assert best_model({"M0": {}}, "judge").model == "M0"
    assert best_model({"M0": FLAT}, "oracle").why == "the only model that was measured"
    with pytest.raises(ValueError, match="no models"):
        best_model({}, "oracle")


@given(st.lists(st.lists(st.floats(0, 5), min_size=4, max_size=4), min_size=1, max_size=5))
def test_nothing_beats_the_best_and_every_model_before_it_is_beaten(
    rows: list[list[float]],
) -> None:
    scores = {f"M{number}": by_prompt(*row) for number, row in enumerate(rows)}
    best = best_model(scores, "oracle").model
    names = list(scores)
    beaten = [
        any(bounds(gain(scores[a], scores[b]))[0] > 0 for a in names if a != b) for b in names
    ]
    assert names.index(best) == beaten.index(False)


def test_a_gain_is_paired() -> None:
    found = present(gain(by_prompt(3, 5), {**by_prompt(1, 1), "p9": (7.0,)}))
    # Differences 2 and 4: mean 3, standard error 1, t(0.975, 1) = 12.706.
    assert found.mean == 3
    assert found.low == pytest.approx(3 - 12.706, abs=1e-3)
    assert found.n == 2
    assert gain({"p": (1.0,)}, {"q": (1.0,)}) is None
