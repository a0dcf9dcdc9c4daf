"""Numbers of records side by side in memory: 4 bytes a token id, 8 bytes a log-prob.

A tuple has a pointer and an object for each: 36 and 32 bytes.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar, overload

if TYPE_CHECKING:
    import pyarrow

Number = TypeVar("Number", int, float)


class Packed(Sequence[Number]):
    """Numbers that never change: equal to the tuple of the same numbers, and hashed like it."""

    __slots__ = ("_numbers",)

    def __init__(self, numbers: array[Number]) -> None:
        """Hold ``numbers``, which nobody else may hold."""
        self._numbers: array[Number] = numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __iter__(self) -> Iterator[Number]:
        return iter(self._numbers)

    @overload
    def __getitem__(self, place: int) -> Number: ...
    @overload
    def __getitem__(self, place: slice) -> Packed[Number]: ...
    def __getitem__(self, place: int | slice) -> Number | Packed[Number]:
        if isinstance(place, slice):
            return Packed(self._numbers[place])
        return self._numbers[place]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Packed):
            return self._numbers == other._numbers
        return tuple(self) == other if isinstance(other, tuple) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        """Let NumPy look at the numbers where they are, read-only."""
        import numpy

        return numpy.array(memoryview(self._numbers).toreadonly(), dtype, copy=copy)


def packed_ids(ids: Iterable[int]) -> Packed[int]:
    """Pack token ids, each in 32 bits.

    Raises:
        OverflowError: one of them does not fit.
    """
    return Packed(array("i", ids))


def packed_floats(values: Iterable[float]) -> Packed[float]:
    """Pack numbers in double precision, every bit kept."""
    return Packed(array("d", values))


def packed_lists(column: pyarrow.ListArray) -> Iterator[Packed[int] | Packed[float]]:
    """Yield each list of a column of lists of 32-bit integers or doubles, none of them null."""
    import pyarrow

    code = "i" if pyarrow.types.is_int32(column.type.value_type) else "d"
    values = column.values.to_numpy()
    for start, stop in pairwise(column.offsets.to_pylist()):
        yield Packed(array(code, values[start:stop].tobytes()))
