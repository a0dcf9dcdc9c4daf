"""New instructions after examples: how they are asked for, read, and sifted.

Self-Instruct (arXiv 2212.10560, sections 2.2 and 2.4) shows a model eight tasks of a pool and lets
it go on; what it writes is kept when it is new and fit for a text model. Self-Rewarding Language
Models (arXiv 2401.10020) takes its prompts from there. The filters are those of both: length,
keywords, first character, and ROUGE-L below 0.7 with everything in the pool.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field

from iterdpo.config.types import Count, checked
from iterdpo.prompts.base import folded
from iterdpo.prompts.rouge import SimilarityPool

# A number at the beginning of a line, plain or as a heading or in bold: "9.", "**Task 9:**", "9)".
# Every repetition that another could follow has a bound: matching takes linear time.
_NUMBER: Final = re.compile(
    r"""^[ \t]{0,8} (?P<mark> [*_\#]{0,4} ) [ \t]{0,4}
    (?: (?:task|instruction|prompt|question) [ \t]{0,4} )? \#? (?P<number> [0-9]{1,4} )
    [ \t]{0,4} [.):] (?P<close> [*_]{0,3} ) (?: [ \t]+ | $ )""",
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
_OPENING_EMPHASIS: Final = re.compile(r"(?P<mark>\*\*|__|\*)(?P<inside>[^*_\n]{1,200})(?P=mark)")
_QUOTES: Final = (('"', '"'), ("“", "”"), ("'", "'"), ("`", "`"))


class FilterReason(StrEnum):
    """Why a written instruction was dropped, in the order in which reasons are tried."""

    CUT_OFF = "cut_off"
    """The model reached its limit of tokens in it."""
    TOO_SHORT = "too_short"
    TOO_LONG = "too_long"
    KEYWORD = "keyword"
    """It speaks of what a text model cannot see or make."""
    PUNCTUATION = "punctuation"
    """It begins with a punctuation mark: a remnant rather than a sentence."""
    NON_ASCII = "non_ascii"
    """It begins with a character outside ASCII."""
    DUPLICATE = "duplicate"
    """It is in the pool but for case and white space."""
    SIMILAR = "similar"
    """Its ROUGE-L with one in the pool reaches the limit."""


@checked
@dataclass(frozen=True, kw_only=True)
class Rules:
    """What an instruction must be like to be kept."""

    max_similarity: Annotated[float, Field(gt=0, le=1)]
    """An instruction is dropped when its ROUGE-L to any other, held-out ones included, reaches
    this."""
    min_words: Count
    max_words: Count
    keywords: tuple[str, ...]
    """Words and phrases of tasks that a text model cannot do."""
    ascii_start: bool
    """Drop instructions that begin with a character outside ASCII."""


def request_text(examples: Sequence[str], asked: int) -> str:
    """Return the text that shows ``examples`` and asks for ``asked`` more, numbered on from them.

    An example stands on one line: its own line breaks could be mistaken for the list's.
    """
    first, last = len(examples) + 1, len(examples) + asked
    shown = "\n".join(f"{n}. {' '.join(text.split())}" for n, text in enumerate(examples, start=1))
    return (
        "Below is the beginning of a list of tasks that people have given to an assistant that "
        f"reads and writes text. Continue the list with {asked} more tasks, numbered {first} to "
        f"{last}. Make them different from each other and from those above in subject, kind and "
        "wording. Each must be complete in itself: where a task needs a text or data to work on, "
        "include it. Write the tasks only, no answers and no comments.\n\n"
        f"{shown}"
    )


def read_instructions(text: str, cut_off: bool) -> list[str | FilterReason]:
    """Return the items of a numbered list, in order.

    An item begins at a line with the number after the last item's (the first may have any), so a
    list inside an item stays a part of it. What comes before the first number is dropped; a text
    without one holds no item.

    Args:
        text: What the model wrote.
        cut_off: Whether it ended at the limit of tokens: the last item is then incomplete.
    """
    begins: list[re.Match[str]] = []
    for match in _NUMBER.finditer(text):
        if not begins or int(match["number"]) == int(begins[-1]["number"]) + 1:
            begins.append(match)
    if not begins:
        return []
    ends = [match.start() for match in begins[1:]] + [len(text)]
    items: list[str | FilterReason] = [
        _cleaned(text[match.end() : end], match["mark"] if not match["close"] else "")
        for match, end in zip(begins, ends, strict=True)
    ]
    if cut_off:
        items[-1] = FilterReason.CUT_OFF
    return items


def _cleaned(item: str, mark: str) -> str:
    """Return an item without the markup around it or its opening words."""
    item = item.strip()
    emphasis = mark.strip("#")
    if emphasis and item.count(emphasis) == 1:  # **9. Name three fish.**
        item = item.replace(emphasis, "").strip()
    if match := _OPENING_EMPHASIS.match(item):  # 9. **Fish:** name three.
        item = match["inside"] + item[match.end() :]
    for left, right in _QUOTES:
        inside = item[1:-1]
        if item[:1] == left and item[-1:] == right and left not in inside and right not in inside:
            item = inside
    return item.strip()


class InstructionFilter:
    """Lets instructions through that keep the rules and are new, and remembers them."""

    def __init__(self, rules: Rules, pool: Iterable[str]) -> None:
        """``pool``: the texts that none may resemble, whatever they are like themselves."""
        self.rules = rules
        self._similar = SimilarityPool(rules.max_similarity)
        self._seen: set[str] = set()
        self._keywords = _keyword_pattern(rules.keywords)
        for text in pool:
            self._remember(text)

    def take(self, text: str) -> FilterReason | None:
        """Return why ``text`` is dropped, or None when it is kept."""
        reason = self._reason(text)
        if reason is None:
            self._remember(text)
        return reason

    def _remember(self, text: str) -> None:
        self._seen.add(folded(text))
        self._similar.add(text)

    def _reason(self, text: str) -> FilterReason | None:
        rules, words = self.rules, len(text.split())
        if words < rules.min_words:
            return FilterReason.TOO_SHORT
        if words > rules.max_words:
            return FilterReason.TOO_LONG
        if self._keywords and self._keywords.search(text):
            return FilterReason.KEYWORD
        if text[0] in string.punctuation:
            return FilterReason.PUNCTUATION
        if rules.ascii_start and not text[0].isascii():
            return FilterReason.NON_ASCII
        if folded(text) in self._seen:
            return FilterReason.DUPLICATE
        return FilterReason.SIMILAR if self._similar.similar(text) else None


def _keyword_pattern(keywords: Sequence[str]) -> re.Pattern[str] | None:
    """Return what finds any of the keywords as words of their own, or None when there are none."""
    if not keywords:
        return None
    phrases = (r"\s+".join(map(re.escape, keyword.split())) for keyword in keywords)
    return re.compile(rf"(?<!\w)(?:{'|'.join(phrases)})(?!\w)", re.IGNORECASE)
