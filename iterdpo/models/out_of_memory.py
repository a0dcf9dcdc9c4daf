"""Memory that runs out: known by its errors, named to the user, met by smaller portions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from iterdpo.errors import UserError
from iterdpo.models.loading import free_memory

Item = TypeVar("Item")
Value = TypeVar("Value")

# Said by the CPU's allocator, by CUDA outside PyTorch's allocator, and by cuBLAS: these errors have
# no type of their own.
_SIGNS = (
    "can't allocate memory",
    "not enough memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Say whether an error means that memory ran out, on the GPU or on the CPU."""
    import torch

    return isinstance(error, torch.OutOfMemoryError) or any(sign in str(error) for sign in _SIGNS)


@contextmanager
def memory_errors_named(what: str, remedy: str) -> Iterator[None]:
    """Raise ``UserError`` where memory runs out within the block: ``what`` did, and what to do."""
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        message = " ".join(str(error).split())[:200]
        raise UserError(f"{what} ran out of memory ({message}): {remedy}") from error


def in_portions(
    items: Sequence[Item], size: int, compute: Callable[[Sequence[Item]], Sequence[Value]]
) -> list[Value]:
    """Return what ``compute`` gives of all ``items``, portion by portion.

    A portion that does not fit into memory is computed in smaller ones, and so are all behind it.

    Args:
        items: whatever is computed side by side, each for itself.
        size: of a portion, 1 or more.
        compute: returns a value an item, in their order.

    Raises:
        RuntimeError: memory does not suffice for a single item.
    """
    values: list[Value] = []
    while len(values) < len(items):
        portion = items[len(values) : len(values) + size]
        try:
            values += compute(portion)
            continue
        except RuntimeError as error:
            if len(portion) == 1 or not is_out_of_memory(error):
                raise
        # Not in the handler, where the error still holds on to the tensors of its frames.
        free_memory()
        size = len(portion) // 2
    return values
