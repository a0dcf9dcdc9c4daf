"""Rows of token ids as rectangles, and back into the order asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import torch

Item = TypeVar("Item")


def chunks(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """Yield successive slices of ``items``, each of ``size`` but the last."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def left_padded(
    rows: Sequence[Sequence[int]], pad_id: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ``(input_ids, attention_mask)``, each ``(B, T)``, the text at the right edge."""
    return _padded(rows, pad_id, device, left=True)


def right_padded(
    rows: Sequence[Sequence[int]], pad_id: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ``(input_ids, attention_mask)``, each ``(B, T)``, the text at the left edge."""
    return _padded(rows, pad_id, device, left=False)


def _padded(
    rows: Sequence[Sequence[int]], pad_id: int, device: torch.device, *, left: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    import torch

    width = max(len(row) for row in rows)
    gaps = [width - len(row) for row in rows]
    padded = zip(rows, gaps, strict=True)
    if left:
        ids = [[pad_id] * gap + list(row) for row, gap in padded]
        mask = [[0] * gap + [1] * (width - gap) for gap in gaps]
    else:
        ids = [list(row) + [pad_id] * gap for row, gap in padded]
        mask = [[1] * (width - gap) + [0] * gap for gap in gaps]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)
