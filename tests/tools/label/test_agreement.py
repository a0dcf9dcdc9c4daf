"""Agreement against published worked examples and written-out arithmetic."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iterdpo.tools.label.agreement import (
    agreement_of,
    cohen_kappa,
    krippendorff_alpha,
    raw_agreement,
)


def columns(*people: str) -> list[list[str]]:
    """Return units from one string a person, ``.`` where a person chose nothing."""
    return [[c for c in unit if c != "."] for unit in zip(*people, strict=True)]


def test_kappa_of_the_grant_proposals() -> None:
    # The textbook example: 50 proposals, both yes 20, both no 15, only A yes 5, only B yes 10.
    # p_o = 35/50; p_e = (25 * 30 + 25 * 20) / 2500 = 0.5; kappa = (0.7 - 0.5) / 0.5 = 0.4.
    pairs = [("y", "y")] * 20 + [("n", "n")] * 15 + [("y", "n")] * 5 + [("n", "y")] * 10
    assert cohen_kappa(pairs) == pytest.approx(0.4)


def test_kappa_of_the_same_share_and_other_margins() -> None:
    # Both agree on 60 of 100 each time; chance explains more in the first table.
    first = [("y", "y")] * 45 + [("y", "n")] * 15 + [("n", "y")] * 25 + [("n", "n")] * 15
    second = [("y", "y")] * 25 + [("y", "n")] * 35 + [("n", "y")] * 5 + [("n", "n")] * 35
    assert cohen_kappa(first) == pytest.approx(0.1304, abs=5e-5)
    assert cohen_kappa(second) == pytest.approx(0.2593, abs=5e-5)


def test_alpha_of_two_observers_binary() -> None:
    # Krippendorff 2011, example A: alpha = 0.095.
    units = columns("0100000010", "1110010000")
    assert krippendorff_alpha(units) == pytest.approx(0.095, abs=5e-4)


def test_alpha_of_two_observers_nominal() -> None:
    # Example B: alpha = 0.692.
    assert krippendorff_alpha(columns("aabbdcccedda", "babbbccceddd")) == pytest.approx(
        0.692, abs=5e-4
    )


def test_alpha_of_four_observers_with_gaps() -> None:
    # Example C: alpha = 0.743. The last unit has one value and says nothing.
    units = columns("123321412...", "1233224125.3", ".3332342251.", "12332441251.")
    assert krippendorff_alpha(units) == pytest.approx(0.743, abs=5e-4)


def test_raw_agreement_counts_pairs_of_people() -> None:
    # Unit 1: a a b has 1 of 3 pairs alike; unit 2: one of one; unit 3 has nobody to agree with.
    assert raw_agreement([["a", "a", "b"], ["c", "c"], ["a"]]) == pytest.approx(2 / 4)


def test_what_has_no_value() -> None:
    assert raw_agreement([["a"], []]) is None
    assert cohen_kappa([]) is None
    assert cohen_kappa([("a", "a")] * 5) is None  # chance alone explains everything
    assert krippendorff_alpha([["a", "a"], ["a", "a"]]) is None
    assert krippendorff_alpha([["a"], ["b"]]) is None


def test_people_who_labeled_different_items() -> None:
    found = agreement_of({
        "ann": {"1": 1.0, "2": 0.0, "3": 1.0, "4": 0.5},
        "bob": {"1": 1.0, "2": 0.0, "3": 0.0, "5": 1.0},
    })  # fmt: skip
    # Shared 1, 2, 3: two alike. Margins ann 1,1,0 and bob 1,0,0: p_e = (2*1 + 1*2) / 9 = 4/9.
    assert found["items"] == 3
    assert found["raw"] == pytest.approx(2 / 3)
    assert found["cohen_kappa"] == pytest.approx((2 / 3 - 4 / 9) / (5 / 9))
    third = agreement_of({name: {"1": 1.0, "2": 0.0} for name in ("ann", "bob", "cy")})
    assert third["cohen_kappa"] is None  # for two people only
    assert third["krippendorff_alpha"] == 1.0


@given(st.lists(st.lists(st.sampled_from("abc"), max_size=4), max_size=12))
def test_bounds_and_perfect_agreement(units: Any) -> None:
    for value in (raw_agreement(units), krippendorff_alpha(units)):
        assert value is None or value <= 1 + 1e-12
    alike = [[unit[0]] * len(unit) for unit in units if unit]
    assert krippendorff_alpha(alike) in (None, 1.0)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=1))
def test_kappa_does_not_depend_on_who_is_first_or_on_names(pairs: Any) -> None:
    swapped = cohen_kappa([(b, a) for a, b in pairs])
    renamed = cohen_kappa([(ord(a), ord(b)) for a, b in pairs])
    expected = cohen_kappa(pairs)
    assert swapped == pytest.approx(expected) if expected is not None else swapped is None
    assert renamed == expected
