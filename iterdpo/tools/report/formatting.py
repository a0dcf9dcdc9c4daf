"""Numbers as people read them."""

from __future__ import annotations

from collections.abc import Sequence

from iterdpo.evaluation.statistics import Estimate

DASH = "–"
_GLUE = "\N{NO-BREAK SPACE}"


def number(value: float | None, digits: int = 2, sign: bool = False) -> str:
    """Return a number with ``digits`` decimals and thousands set apart, or a dash."""
    if value is None:
        return DASH
    return f"{value:{'+' if sign else ''},.{digits}f}".replace("-", "−")


def percent(share: float | None, digits: int = 0) -> str:
    """Return a share in [0, 1] as a percentage, or a dash."""
    return DASH if share is None else f"{100 * share:.{digits}f} %"


def percent_interval(ends: Sequence[float | None] | None, digits: int = 0) -> str:
    """Return ``32.8 … 36.8 %``, or nothing where there is no interval."""
    low, high = ends or (None, None)
    if low is None or high is None:
        return ""
    return f"{interval(100 * low, 100 * high, digits)} %"


def count(value: int | None, what: str = "") -> str:
    """Return ``1,200 prompts``, ``1 prompt``, or a dash."""
    if value is None:
        return DASH
    return f"{value:,} {what}{'' if value == 1 else 's'}" if what else f"{value:,}"


def interval(low: float | None, high: float | None, digits: int = 2, sign: bool = False) -> str:
    """Return ``3.28 … 3.68``, or nothing where there is no interval."""
    if low is None or high is None:
        return ""
    return f"{number(low, digits, sign)}{_GLUE}…{_GLUE}{number(high, digits, sign)}"


def estimate(value: Estimate | None, digits: int = 2, sign: bool = False) -> str:
    """Return ``3.48 (3.28 … 3.68)``, the mean alone where there is no interval, or a dash."""
    if value is None:
        return DASH
    mean = number(value.mean, digits, sign)
    span = interval(value.low, value.high, digits, sign)
    return f"{mean} ({span})" if span else mean


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


def listed(names: list[str]) -> str:
    """Return ``a``, ``a and b``, or ``a, b and c``."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]])) if names else ""
