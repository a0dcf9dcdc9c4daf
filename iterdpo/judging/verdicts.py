r"""Read the score out of what a judge wrote, or say why it cannot be read.

The rubric asks for a conclusion ``Score: <total points>`` (Self-Rewarding Language Models, arXiv
2401.10020, figure 2). Judges write it in many ways; what is not plainly one number is no number.

A *verdict line* holds the word ``score`` and a colon (also ``：`` or ``=``), anywhere in the line;
or it opens with ``score`` and goes straight to a digit or its end. The last verdict line of the
text rules, and in it the last label. An earlier one is never fallen back to, because a judge that
ended otherwise did not stand by it. A line that explains the score (``Reason for this score: ...``)
is none, and no thought holds one: what was thought before an answer is no part of it.

Read: ``Score: 4``, ``**Score:** 3.5``, ``## Final score: 4/5``, ``Score: 4 out of 5 points.``,
``Score (0-5): [4]``, ``Score: \boxed{4}``, ``Score: 4. It covers the request.``,
``Score: 4 (all but the last criterion)``, ``Score: 4 (out of 5)``, ``(Score: 4)``,
``<answer>Score: 4</answer>``, ``Score: 4</s>``, and a JSON object with a score.

Not read: words (``four``), ranges and alternatives (``3-4``, ``4 or 5``), other scales (``4/10``,
``80%``, ``Score (1-10): 4``), ``1e1``, ``1,000``, ``3,5``, ``+1``, digits other than 0-9, a label
without a colon (``Score - 4`` might be a negative number), a number on a later line than its label,
and any verdict followed by a second number (``4 because 3 of the criteria hold``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final

from iterdpo.judging.thoughts import after_thoughts
from iterdpo.records import Scored, Unscored, UnscoredReason

VERDICTS_VERSION: Final = 2
"""Raised when some text would be read otherwise than before. It is in the key of whoever reads."""

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
_EXPLAINS: Final = re.compile(
    r"""\b(?: (?:reasons?|reasoning|rationale|explanation|justification|motivation|basis|grounds?|
    evidence|argument|comments?|notes?|remarks?|details?|breakdown|summary|feedback|thoughts?)
    \s{1,4} (?:for|of|on|about|behind|regarding|supporting) | why )
    \s{1,4} (?:[a-z]{1,12}\s{1,4}){0,3} $""",
    re.IGNORECASE | re.VERBOSE,
)
_STYLE: Final = re.compile(r"</?(?:b|i|u|em|strong|code|span|font|mark)(?:\s[^<>]{0,80})?>", re.I)
_TAG: Final = re.compile(r"</?[a-z|｜][^<>]{0,80}>", re.IGNORECASE)
_OBJECT: Final = re.compile(r"""\{\s{0,40}["}]""")
_MOST_BROKEN: Final = 32
"""Each is read to its end in vain, so that more could take a time that is not linear."""
_SCORE_KEY: Final = re.compile(r"(?:(?:my|the|total|final|overall)[\s_-])*score", re.IGNORECASE)
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
_BRACKETS: Final = (("(", ")"), ("[", "]"), ("{", "}"), ("<", ">"))
_REMARK: Final = re.compile(r"\s*[(\[][^()\[\]]{1,40}[)\]]")
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
    said = "".join(_objects_as_lines(after_thoughts(text)))
    lines = said.splitlines()
    for index in range(len(lines) - 1, -1, -1):
        line = lines[index]
        labels = [found for found in _LABEL.finditer(line) if not _explains(line, found.start())]
        if not labels and not _BARE_LABEL.match(line):
            continue
        cut_off = truncated and said.endswith(line) and index == len(lines) - 1
        if not labels or cut_off or not _is_scale(labels[-1]["scale"], low, high):
            return Unscored(UnscoredReason.UNREADABLE, text)
        value = _opened(line[: labels[-1].start()], line[labels[-1].end() :])
        score = _read_number(value, low, high)
        if score is None:
            return Unscored(UnscoredReason.UNREADABLE, text)
        if not low <= score <= high:
            return Unscored(UnscoredReason.OUT_OF_RANGE, text)
        return Scored(score)
    return Unscored(UnscoredReason.NO_VERDICT, text)


def _objects_as_lines(text: str) -> Iterator[str]:
    """Yield the pieces of ``text``, each JSON object that speaks of a score as a verdict line.

    Only a whole object with one score of its own gives a number: another may hold the scores of
    single criteria.
    """
    decoder = json.JSONDecoder(strict=False, object_pairs_hook=list)
    done = seen = depth = failed = 0
    for start in (found.start() for found in _OBJECT.finditer(text)):
        if start < seen:
            continue
        between, seen = text[seen:start], start
        depth += sum(between.count(opening) for opening in "{[")
        depth -= sum(between.count(closing) for closing in "}]")
        try:
            members, seen = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            depth, seen, failed = depth + 1, start + 1, failed + 1
            if failed == _MOST_BROKEN:
                break
            continue
        scores = [value for key, value in members if _SCORE_KEY.fullmatch(key.strip())]
        if scores or _LABEL.search(text, start, seen):
            plain = depth <= 0 and len(scores) == 1 and type(scores[0]) in (int, float, str)
            yield text[done:start]
            yield f"\nScore: {' '.join(str(scores[0]).split()) if plain else '?'}\n"
            done = seen
    yield text[done:]


def _explains(line: str, start: int) -> bool:
    """Tell whether the word score at ``start`` names what a line is about, as a heading does."""
    return bool(_EXPLAINS.search(line[max(0, start - 100) : start].translate(_MARKUP)))


def _opened(before: str, value: str) -> str:
    """Return ``value`` without what closes the brackets that ``before`` leaves open."""
    before = before.translate(_MARKUP).rstrip()
    for opening, closing in _BRACKETS:
        is_open = (
            before.endswith("{")
            if opening == "{"
            else before.count(opening) > before.count(closing)
        )
        value = value.replace(closing, " ", 1) if is_open else value
    return value


def _is_scale(said: str | None, low: float, high: float) -> bool:
    """Tell whether a remark like ``(0-5)`` or ``out of 5`` names the scale in use."""
    if said is None:
        return True
    words = said.lower().strip("()[] ").replace("–", "-").replace(" to ", "-")
    words = re.sub(r"points?|pts?|on a scale of|from|imum|\s", "", words)
    known = {f"{low:g}-{high:g}", f"outof{high:g}", f"/{high:g}", f"max{high:g}", f"{high:g}max"}
    return words in known


def _read_number(value: str, low: float, high: float) -> float | None:
    """Return the one number that ``value`` plainly gives, or None."""
    # What follows a closing tag or a control token is said after the verdict.
    value = _TAG.sub(lambda tag: " . " if tag[0][1] in "/|｜" else " ", _STYLE.sub(" ", value))
    value = value.translate(_MARKUP)
    bracketed = _BRACKETED.match(value)
    if bracketed and bracketed["open"].translate(_CLOSING)[::-1] == bracketed["close"]:
        value = f"{bracketed['inside']} {bracketed['rest']}"
    match = _NUMBER.match(value)
    if match is None or not _TAIL.match(match["tail"]):
        return None
    remark = _REMARK.match(match["tail"])
    tail = (
        match["tail"][remark.end() :]
        if remark and _is_scale(remark[0], low, high)
        else match["tail"]
    )
    if any(character.isnumeric() for character in tail):
        return None
    if match["whole"] is not None and float(match["whole"]) != high:
        return None
    return float(match["number"])
