r"""Read the score out of what a judge wrote, or say why it cannot be read.

The rubric asks for a conclusion ``Score: <total points>`` (Self-Rewarding Language Models, arXiv
2401.10020, figure 2). Judges write it in many ways; what is not plainly one number is no number.

A *verdict line* holds the word ``score`` and a colon (also ``：`` or ``=``), anywhere in the line;
or it opens with ``score`` and goes straight to a digit or its end. The last verdict line of the
text rules, and in it the last label. An earlier one is never fallen back to, because a judge that
ended otherwise did not stand by it.

Read: ``Score: 4``, ``**Score:** 3.5``, ``## Final score: 4/5``, ``Score: 4 out of 5 points.``,
``Score (0-5): [4]``, ``Score: \boxed{4}``, ``Score: 4. It covers the request.``,
``Score: 4 (all but the last criterion)``.

Not read: words (``four``), ranges and alternatives (``3-4``, ``4 or 5``), other scales (``4/10``,
``80%``, ``Score (1-10): 4``), ``1e1``, ``1,000``, ``3,5``, ``+1``, digits other than 0-9, a label
without a colon (``Score - 4`` might be a negative number), a number on a later line than its label,
and any verdict followed by a second number (``4 because 3 of the criteria hold``).
"""

from __future__ import annotations

import re
from typing import Final

from iterdpo.records import Scored, Unscored, UnscoredReason

# Every repetition that another could follow has a bound: matching takes linear time.
_LABEL: Final = re.compile(
    r"""(?<![^\W_]) (?<![^\W_]-) score      # a word of its own, not "subscore" or "sub-score"
    [\s*_`~"']{0,8}
    (?P<scale> \([^()]{1,40}\) | out\ of\ [0-9]{1,9} )?
    [\s*_`~"']{0,8} [:：=]""",
    re.IGNORECASE | re.VERBOSE,
)
_BARE_LABEL: Final = re.compile(
    r"""\W{0,20} (?:(?:my|the|total|final|overall)\s{1,4}){0,2}
    score (?:\s{1,4}(?:is|of)\b)? [\W_]{0,8} (?:[0-9]|$)""",
    re.IGNORECASE | re.VERBOSE,
)
_MARKUP: Final = str.maketrans(dict.fromkeys("*_`~$|\"'", " ") | {"−": "-"})
_BRACKETED: Final = re.compile(
    r"""\s*(?:\\boxed)? (?P<open>[\[({<]{1,2}) (?P<inside>[^\[\](){}<>]{1,40})
    (?P<close>[\])}>]{1,2}) (?P<rest>.*)""",
    re.VERBOSE | re.DOTALL,
)
_CLOSING: Final = str.maketrans("[({<", "])}>")
_NUMBER: Final = re.compile(
    r"""\s* (?P<number> -?[0-9]+(?:\.[0-9]+)? )
    (?:\s{0,4}(?:points?|pts?)\b)?
    (?:\s{0,4}(?:/|out\ of)\s{0,4} (?P<whole> [0-9]+(?:\.[0-9]+)? ))?
    (?:\s{0,4}(?:points?|pts?)\b)?
    (?P<tail>.*)""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
# The end, a new sentence, or a remark that is marked as one.
_TAIL: Final = re.compile(r"\s*(?:[.!]?\s*$|[.!]\s|[(\[;—–]|-\s|(?:because|since|as)\b)")


def parse_score(
    text: str, low: float = 0, high: float = 5, *, truncated: bool = False
) -> Scored | Unscored:
    """Return the score of the last verdict line of ``text``. Never raises.

    Args:
        text: what the judge wrote.
        low: the lowest score.
        high: the highest score; ``4/5`` and ``4 out of 5`` are read only when it is 5.
        truncated: the judge was cut off. A verdict that the text ends in is then unreadable: the
            rest of its number may be missing.

    Returns:
        ``Scored`` with ``low <= score <= high``, or ``Unscored`` with the reason (no verdict,
        unreadable, out of range) and the whole text.
    """
    lines = text.splitlines()
    for index in range(len(lines) - 1, -1, -1):
        labels = list(_LABEL.finditer(lines[index]))
        if not labels and not _BARE_LABEL.match(lines[index]):
            continue
        cut_off = truncated and text.endswith(lines[index]) and index == len(lines) - 1
        if not labels or cut_off or not _is_scale(labels[-1]["scale"], low, high):
            return Unscored(UnscoredReason.UNREADABLE, text)
        score = _read_number(lines[index][labels[-1].end() :], high)
        if score is None:
            return Unscored(UnscoredReason.UNREADABLE, text)
        if not low <= score <= high:
            return Unscored(UnscoredReason.OUT_OF_RANGE, text)
        return Scored(score)
    return Unscored(UnscoredReason.NO_VERDICT, text)


def _is_scale(said: str | None, low: float, high: float) -> bool:
    """Tell whether a remark like ``(0-5)`` or ``out of 5`` in a label names the scale in use."""
    if said is None:
        return True
    words = said.lower().strip("() ").replace("–", "-").replace(" to ", "-").replace(" ", "")
    known = {f"{low:g}-{high:g}", f"outof{high:g}", f"/{high:g}", f"max{high:g}", f"{high:g}max"}
    return words in known


def _read_number(value: str, high: float) -> float | None:
    """Return the one number that ``value`` plainly gives, or None."""
    value = value.translate(_MARKUP)
    bracketed = _BRACKETED.match(value)
    if bracketed and bracketed["open"].translate(_CLOSING)[::-1] == bracketed["close"]:
        value = f"{bracketed['inside']} {bracketed['rest']}"
    match = _NUMBER.match(value)
    if match is None or not _TAIL.match(match["tail"]):
        return None
    if any(character.isnumeric() for character in match["tail"]):
        return None
    if match["whole"] is not None and float(match["whole"]) != high:
        return None
    return float(match["number"])
