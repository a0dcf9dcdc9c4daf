"""Values counted in bins, so that a chart shows their shape and not that of the bins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def histogram(values: Sequence[float], bins: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the counts and the edges of at most ``bins`` bins of equal width.

    Whole numbers, such as lengths, have bins around whole numbers: between them a bin would stay
    empty, or hold more of them than its neighbors.

    Args:
        values: at least one, all finite.
        bins: at least 1.

    Returns:
        n counts and n + 1 edges; every value is counted.
    """
    import numpy as np

    low, high = min(values), max(values)
    if not all(float(value).is_integer() for value in values):
        return np.histogram(values, bins)
    width = -((int(high) - int(low) + 1) // -bins)
    count = -((int(high) - int(low) + 1) // -width)
    return np.histogram(values, int(low) - 0.5 + width * np.arange(count + 1))
