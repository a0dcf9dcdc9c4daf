from __future__ import annotations

from itertools import combinations

import pytest

from iterdpo.lab.grammar import KINDS, parse, render, universe
from iterdpo.lab.splits import Split, instructions, split_of

SPLITS: tuple[Split, ...] = ("seed", "loop", "evaluation", "judge")


def test_the_splits_are_disjoint_and_complete() -> None:
    sets = [set(instructions(split)) for split in SPLITS]
    for one, other in combinations(sets, 2):
        assert one.isdisjoint(other)
    assert set.union(*sets) == {render(task) for task in universe()}


@pytest.mark.parametrize(
    ("split", "least"), [("seed", 20_000), ("loop", 5_000), ("evaluation", 1_000), ("judge", 1_000)]
)
def test_each_split_is_large_and_keeps_to_itself(split: Split, least: int) -> None:
    texts = instructions(split)
    assert len(texts) == len(set(texts)) >= least
    assert all(split_of(text) == split for text in texts)


@pytest.mark.parametrize("split", SPLITS)
def test_the_first_hundred_mix_the_kinds(split: Split) -> None:
    kinds = [parse(text).kind for text in instructions(split)[:100]]
    assert min(kinds.count(kind) for kind in KINDS) >= 5


def test_the_order_never_changes() -> None:
    assert instructions("loop")[0] == (
        "pick five of hat gloves cap tie vest scarf boots in reverse order without vest"
    )
