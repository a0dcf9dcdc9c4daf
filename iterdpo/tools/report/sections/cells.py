"""Cells that hold a number with its interval below it."""

from __future__ import annotations

from iterdpo.evaluation.statistics import Estimate, Interval
from iterdpo.runtime.formatting import DASH, interval, number, percent, percent_interval
from iterdpo.tools.report.document import Cell


def value_cell(
    value: float | None, ends: Interval | None, digits: int = 2, sign: bool = False
) -> Cell:
    """Return a number with its interval, where it has one."""
    return Cell(number(value, digits, sign), note=interval(*ends or (None, None), digits, sign))


def share_cell(share: Estimate | None, digits: int = 0) -> Cell | str:
    """Return a share in percent with its interval, or a dash."""
    if share is None:
        return DASH
    return Cell(percent(share.mean, digits), note=percent_interval((share.low, share.high), digits))


def difference_cell(gain: Estimate | None) -> Cell | str:
    """Return a difference with its interval, colored where 0 lies outside it, or a dash."""
    if gain is None:
        return DASH
    low, high = gain.low, gain.high
    clear = low is not None and high is not None and (low > 0 or high < 0)
    mark = ("up" if gain.mean > 0 else "down") if clear else ""
    return Cell(number(gain.mean, 3, sign=True), mark, interval(low, high, 3, sign=True))
