"""Pairs as the rows that TRL's trainers read."""

from __future__ import annotations

import dataclasses

from iterdpo.store.packed import packed_ids
from iterdpo.training.spec import PairExample


def test_packed_or_not_a_pair_is_the_same_row() -> None:
    from iterdpo.training.pairs_trainer import PairsTrainer

    plain = [
        PairExample((1, 2), (128_255,), (4, 5, 6), (-1.0,), (-0.5, -0.5, -1.0)),
        PairExample((7,), (), (8,), (), (-1.0,)),
    ]
    packed = [
        dataclasses.replace(
            item,
            prompt_ids=packed_ids(item.prompt_ids),
            chosen_ids=packed_ids(item.chosen_ids),
            rejected_ids=packed_ids(item.rejected_ids),
        )
        for item in plain
    ]
    expected = [
        {"prompt_ids": [1, 2], "chosen_ids": [128_255], "rejected_ids": [4, 5, 6]},
        {"prompt_ids": [7], "chosen_ids": [], "rejected_ids": [8]},
    ]
    for examples in (plain, packed, [plain[0], packed[1]]):
        assert PairsTrainer.dataset(examples).to_list() == expected
