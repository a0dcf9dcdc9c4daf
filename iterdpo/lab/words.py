"""The words of the lab: everything that its instructions, answers and verdicts are made of."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

CATEGORIES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "animals": tuple("ant bear cat deer eagle fox goat horse lion owl".split()),
        "clothes": tuple("belt boots cap dress gloves hat jacket scarf tie vest".split()),
        "colors": tuple("black cyan gold indigo lime mauve orange purple red white".split()),
        "drinks": tuple("ale beer cider juice lemonade milk punch soda tea water".split()),
        "fruits": tuple("apple banana cherry date fig grape kiwi mango pear raisin".split()),
        "tools": tuple("axe brush chisel drill hammer knife ladder pliers saw wrench".split()),
    }
)
"""Ten items a category in alphabetical order, each in one category only."""

ITEMS: Final = tuple(sorted(item for items in CATEGORIES.values() for item in items))
SUBJECTS: Final = CATEGORIES["animals"]
"""Who the sentences of ``tell`` are about."""
VERBS: Final = tuple("bows dances eats hides jumps laughs naps rests sings walks".split())
NUMBERS: Final = tuple("one two three four five six".split())
"""``NUMBERS[i]`` is the word for ``i + 1``."""
OPENERS: Final = tuple("okay right so well".split())
CLOSERS: Final = tuple("bye done enough thanks".split())
FRAME: Final = frozenset(OPENERS + CLOSERS)
"""Words that open or close an answer and are never part of its content."""

GRAMMAR_WORDS: Final = tuple(
    "name pick tell things of about the verbs in alphabetical reverse order without start finish "
    "with and , .".split()
)
"""What instructions and sentences need beside the words above."""

RUBRIC_WORDS: Final = tuple(
    "judge instruction response topic count limits form score verdict yes no Score: "
    "0 1 2 3 4 5".split()
)
"""What judge messages and verdicts need beside the words above."""


def vocabulary() -> tuple[str, ...]:
    """Return every word of the lab once, in a fixed order."""
    words = (
        *GRAMMAR_WORDS,
        *RUBRIC_WORDS,
        *OPENERS,
        *CLOSERS,
        *NUMBERS,
        *VERBS,
        *CATEGORIES,
        *ITEMS,
    )
    return tuple(dict.fromkeys(words))
