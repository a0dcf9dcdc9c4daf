"""Numbers as people read them, at the terminal, in tables and on pages.

What is not known is a dash. A minus is one, and no hyphen.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

DASH = "–"


class Measured(Protocol):
    """A mean with the ends of its interval, if it has one."""

    @property
    def mean(self) -> float: ...

    @property
    def low(self) -> float | None: ...

    @property
    def high(self) -> float | None: ...


def number(value: float | None, digits: int = 2, sign: bool = False) -> str:
    """Return a number with ``digits`` decimals and thousands set apart, or a dash."""
    if value is None:
        return DASH
    return f"{value:{'+' if sign else ''},.{digits}f}".replace("-", "−")


def percent(share: float | None, digits: int = 0) -> str:
    """Return a share in [0, 1] as a percentage, or a dash."""
    return DASH if share is None else f"{number(100 * share, digits)} %"


def count(value: int | None, what: str = "") -> str:
    """Return ``1,200 prompts``, ``1 prompt``, or a dash."""
    if value is None:
        return DASH
    return f"{value:,} {what}{'' if value == 1 else 's'}" if what else f"{value:,}"


def interval(low: float | None, high: float | None, digits: int = 2, sign: bool = False) -> str:
    """Return ``3.28 … 3.68``, or nothing where there is no interval."""
    if low is None or high is None:
        return ""
    return f"{number(low, digits, sign)} … {number(high, digits, sign)}"


def percent_interval(ends: Sequence[float | None] | None, digits: int = 0) -> str:
    """Return ``32.8 … 36.8 %``, or nothing where there is no interval."""
    low, high = ends or (None, None)
    if low is None or high is None:
        return ""
    return f"{interval(100 * low, 100 * high, digits)} %"


def estimate(
    value: Measured | None, digits: int = 2, sign: bool = False, scale: float = 1.0
) -> str:
    """Return ``3.48 (3.28 … 3.68)``, the mean alone where there is no interval, or a dash.

    Args:
        value: what was measured.
        digits: decimals.
        sign: whether a plus is written.
        scale: what all three numbers are multiplied by: 100 for a share in percent.
    """
    if value is None:
        return DASH
    low, high = (None if end is None else scale * end for end in (value.low, value.high))
    mean, span = number(scale * value.mean, digits, sign), interval(low, high, digits, sign)
    return f"{mean} ({span})" if span else mean


def spread(
    mean: float, low: float | None, high: float | None, digits: int = 2, sign: bool = False
) -> str:
    """Return a mean and half the width of its interval, where it has one: ``3.16 ± 0.05``."""
    text = number(mean, digits, sign)
    return text if low is None or high is None else f"{text} ± {(high - low) / 2:.{digits}f}"


def spread_of(value: Measured | None, digits: int = 2, sign: bool = False) -> str:
    """Return an estimate as ``spread`` does, or a dash."""
    if value is None:
        return DASH
    return spread(value.mean, value.low, value.high, digits, sign)


def duration(seconds: float | None) -> str:
    """Return ``4.2 s``, ``3 min 05 s`` or ``2 h 07 min``, or a dash."""
    if seconds is None:
        return DASH
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def disk_size(size: int) -> str:
    """Return bytes on a disk, in powers of 1,000: ``950 B``, ``1.2 MB``."""
    amount = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 999.95:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:,.1f} TB"


def memory_size(size: int | None, digits: int = 1) -> str:
    """Return bytes of memory in GiB (2**30 bytes): ``22.4 GiB``, or a dash."""
    return DASH if size is None else f"{number(size / 2**30, digits)} GiB"


def moment(seconds: float) -> str:
    """Return a moment, in seconds since the epoch, in local time and to the minute."""
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")


def listed(names: Sequence[str]) -> str:
    """Return ``a``, ``a and b``, or ``a, b and c``."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]])) if names else ""
