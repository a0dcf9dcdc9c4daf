"""Memory that runs out is met by smaller portions, and named where one item is too much."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from iterdpo.errors import UserError
from iterdpo.models.out_of_memory import in_portions, memory_errors_named


class Card:
    """Doubles numbers, as many side by side as fit."""

    def __init__(self, room: int, error: type[RuntimeError] = torch.OutOfMemoryError) -> None:
        self.room, self.error = room, error
        self.sizes: list[int] = []

    def double(self, portion: Sequence[int]) -> list[int]:
        self.sizes.append(len(portion))
        if len(portion) > self.room:
            raise self.error("CUDA out of memory.")
        return [2 * number for number in portion]


@pytest.mark.parametrize(
    ("items", "size", "room", "sizes"),
    [
        (0, 4, 4, []),
        (3, 4, 4, [3]),
        (9, 4, 4, [4, 4, 1]),
        (9, 4, 2, [4, 2, 2, 2, 2, 1]),  # what is done is not computed again
        (3, 64, 1, [3, 1, 1, 1]),
        (7, 7, 2, [7, 3, 1, 1, 1, 1, 1, 1, 1]),
    ],
)
def test_a_portion_that_does_not_fit_is_halved_and_so_are_those_behind_it(
    items: int, size: int, room: int, sizes: list[int]
) -> None:
    card = Card(room)
    assert in_portions(range(items), size, card.double) == [2 * n for n in range(items)]
    assert card.sizes == sizes


def test_a_single_item_that_does_not_fit_and_another_error_are_raised() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        in_portions(range(5), 4, Card(0).double)
    other = Card(2, error=NotImplementedError)
    with pytest.raises(NotImplementedError):
        in_portions(range(5), 4, other.double)
    assert other.sizes == [4]


def test_memory_is_named_with_what_to_do_and_other_errors_are_left_alone() -> None:
    with pytest.raises(UserError) as said, memory_errors_named("the judge", "lower N"):
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried")
    assert str(said.value) == "the judge ran out of memory (CUDA out of memory. Tried): lower N"
    with pytest.raises(RuntimeError, match="shapes"), memory_errors_named("the judge", "lower N"):
        raise RuntimeError("shapes")
