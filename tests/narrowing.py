"""What a test knows of a value beyond its type, asserted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeVar, cast

import pytest

from iterdpo.engines.base import PromptTooLong
from iterdpo.evaluation.statistics import Estimate

if TYPE_CHECKING:
    from iterdpo.store.stage import Stored

T = TypeVar("T")


def present(value: T | None) -> T:
    """Return what is there."""
    assert value is not None
    return value


def bounds(estimate: Estimate | None) -> tuple[float, float]:
    """Return the ends of an interval that there is."""
    assert estimate is not None
    assert estimate.low is not None
    assert estimate.high is not None
    return estimate.low, estimate.high


def metrics_of(stored: Stored[Any]) -> dict[str, Any]:
    """Return a stage's metrics, whose names and types the test knows."""
    return cast("dict[str, Any]", stored.metrics)


def near(value: float, within: float | None = None) -> float:
    """Return ``pytest.approx`` of a number, for a field of a record that is compared whole."""
    return cast("float", pytest.approx(value, abs=within))


def answered(results: Iterable[T | PromptTooLong]) -> list[T]:
    """Return what an engine said to requests that all fit into its context."""
    fitting: list[T] = []
    for result in results:
        assert not isinstance(result, PromptTooLong), result
        fitting.append(result)
    return fitting
