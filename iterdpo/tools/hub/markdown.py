"""Text in Markdown that stays text: settings, prompts and answers are other people's words.

The Hub renders cards as CommonMark with tables and some HTML, so in running text every mark
with a meaning is escaped (CommonMark 0.31, section 2.4), and code stands between fences that are
longer than any run of backticks within (section 4.5, and 6.1 for spans).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from iterdpo.runtime.terminal import harmless

_ENTITIES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_MARKS: Final = frozenset("\\`*_[]{}~#!$@")
"""What could open an emphasis, a link, an image, a formula or the mention of a user. The bar
between cells is escaped by whoever makes a table of the text (``evaluation.table.table``)."""
_TICKS: Final = re.compile("`+")


def escaped(text: str) -> str:
    """Return ``text`` on one line, to stand as it is in a sentence, a heading or a table."""
    return "".join(_escaped(letter) for letter in _one_line(text))


def code(text: str) -> str:
    """Return ``text`` as a code span on one line."""
    line = _one_line(text)
    if not line.strip():
        return "(empty)"
    fence = "`" * (_longest_ticks(line) + 1)
    # One blank on each side is taken off again, so that the text may begin with a backtick.
    pad = " " if "`" in line else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def fenced(text: str, language: str = "text") -> str:
    """Return ``text`` as a block of code."""
    fence = "`" * max(3, _longest_ticks(text) + 1)
    return f"{fence}{language}\n{harmless(text).rstrip(chr(10))}\n{fence}"


def bullets(items: Sequence[str]) -> str:
    """Return a list, whose items are Markdown already."""
    return "\n".join(f"- {item}" for item in items)


def _escaped(letter: str) -> str:
    if letter in _ENTITIES:
        return _ENTITIES[letter]
    return f"\\{letter}" if letter in _MARKS else letter


def _one_line(text: str) -> str:
    return " ".join(harmless(text).split())


def _longest_ticks(text: str) -> int:
    return max((len(run) for run in _TICKS.findall(text)), default=0)
