"""What libraries say of a checkpoint that they cannot load, as a line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from iterdpo.errors import UserError


@contextmanager
def loading(said: str) -> Iterator[None]:
    """Turn whatever a library says of a checkpoint that it cannot load into a line.

    Args:
        said: the setting that named the checkpoint, with its value.

    Raises:
        UserError: the model cannot be loaded. Memory that does not suffice is no fault of it.
    """
    import torch

    try:
        yield
    except (UserError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # of a bad configuration alone there are a dozen kinds
        shapes = "its tensors are of other shapes than its config.json says"
        reason = shapes if "ignore_mismatched_sizes" in str(error) else line(error)
        raise UserError(f"{said}: the model cannot be loaded: {reason}") from error


def line(error: Exception) -> str:
    """Return what a library said, on one line of some length."""
    return " ".join(str(error).split())[:300]
