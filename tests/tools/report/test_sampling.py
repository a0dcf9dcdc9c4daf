"""Which pairs a page holds: all that fit, else a sample that says something of every part."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from iterdpo.tools.report.sampling import PairEntry, choose


def items(count: int, size: int = 100, group: object = 1, wrong: int = 0) -> list[PairEntry]:
    return [PairEntry(f"{group}-{i:04d}", group, i / count, i < wrong, size) for i in range(count)]


def test_everything_is_kept_that_fits() -> None:
    assert choose(items(10), 1000) == list(range(10))


def test_a_sample_takes_from_every_iteration_and_every_quarter_of_margins_alike() -> None:
    both = items(400, group="one") + items(40, group="two")
    kept = choose(both, 100 * 80)
    assert len(kept) == 80
    strata = Counter((both[i].group, int(4 * both[i].margin)) for i in kept)
    assert strata == {(group, quarter): 10 for group in ("one", "two") for quarter in range(4)}


def test_wrong_labels_are_kept_first_up_to_half() -> None:
    some = items(1000, wrong=20)
    assert set(range(20)) <= set(choose(some, 100 * 50))
    # Where they are more than half, they do not drive out all others.
    many = items(1000, wrong=900)
    kept = choose(many, 100 * 100)
    assert sum(not many[i].wrong for i in kept) >= 10
    assert sum(many[i].wrong for i in kept) >= 50


def test_the_sample_does_not_depend_on_the_order_of_the_pairs() -> None:
    some = items(300, wrong=30)
    turned = some[::-1]
    assert {some[i].id for i in choose(some, 5000)} == {turned[i].id for i in choose(turned, 5000)}


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.floats(0, 5), st.booleans(), st.integers(1, 500)),
        max_size=60,
    ),
    st.integers(0, 5000),
)
def test_no_sample_is_over_its_budget_or_names_a_pair_twice(rows: Any, budget: Any) -> None:
    made = [PairEntry(f"{i:03d}", *row) for i, row in enumerate(rows)]
    kept = choose(made, budget)
    assert len(set(kept)) == len(kept)
    assert sum(made[i].size for i in kept) <= budget
