"""Final answers read from a text: what a model boxes, announces, or says last."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from typing import Final

_DIGITS: Final = r"(?:(?:\d{1,3}(?:,\d{3})+|\d{1,40})(?:\.\d{1,40})?|\.\d{1,40})(?!\d)"
_FRACTION: Final = (
    rf"\\[dt]?frac\s?\{{\s?(?P<above>[-−]?{_DIGITS})\s?\}}\s?\{{\s?(?P<below>{_DIGITS})\s?\}}"
)
# In turn: \frac{1}{2}, 3/4, and 1,234.5e-3. Signs are those of keyboards and of typesetters.
_NUMBER: Final = re.compile(
    rf"(?<![\w.])(?P<sign>[-+−–])?(?:[$€£]\s?)?(?:{_FRACTION}|(?P<plain>{_DIGITS})"
    rf"(?:\s?/\s?(?P<divisor>{_DIGITS})|[eE](?P<power>[-+−]?\d{{1,3}})(?!\w)|(?![eE][-+−]?\d)))"
)
_BOX: Final = re.compile(r"\\f?boxed\s{0,4}\{")
_ANNOUNCED: Final = re.compile(
    r"(?:####|\banswer\b(?:\s+is\b)?\s*[:=]?|\\boxed\b(?!\s*\{))", re.IGNORECASE
)


def boxed(text: str) -> str | None:
    r"""Return what the last closed ``\boxed{...}`` holds, braces within it included."""
    boxes = {found.end() - 1 for found in _BOX.finditer(text)}
    opened: list[int] = []
    last, held = -1, None
    for brace in re.finditer(r"[{}]", text):  # one pass: an answer may open thousands
        if brace[0] == "{":
            opened.append(brace.start())
        elif opened and (start := opened.pop()) in boxes and start > last:
            last, held = start, text[start + 1 : brace.start()]
    return held


def after_announcement(text: str) -> str | None:
    """Return what follows the last ``####``, ``answer:`` or ``answer is``; None without one."""
    last = None
    for found in _ANNOUNCED.finditer(text):
        last = found.end()
    return None if last is None else text[last:]


def numbers(text: str) -> Iterator[Fraction]:
    """Yield every number of a text, exactly: decimals, fractions, powers of ten up to 999.

    Commas group thousands; currency and percent signs are left out, so 50 % is 50.
    """
    for found in _NUMBER.finditer(text):
        sign, *_ = found.groups()
        part = {
            name: _value(own) for name, own in found.groupdict().items() if own and name != "sign"
        }
        top = part.get("above", part.get("plain", Fraction(0)))
        bottom = part.get("below", part.get("divisor", Fraction(1)))
        if not bottom:
            continue
        value = top / bottom * Fraction(10) ** int(part.get("power", Fraction(0)))
        yield -value if (sign or "+") in "-−–" else value


def _value(digits: str) -> Fraction:
    return Fraction(digits.replace(",", "").replace("−", "-"))
