"""The words of the lab: everything that its instructions, answers and verdicts are made of."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

CATEGORIES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "animals": tuple("ant bear cat deer eagle fox goat horse lion owl".split()),
        "clothes": tuple("belt boots cap coat dress gloves hat scarf shirt socks".split()),
        "colors": tuple("black blue brown gold gray green pink red white yellow".split()),
        "drinks": tuple("beer cider cocoa coffee juice milk soda tea water wine".split()),
        "fruits": tuple("apple banana cherry date fig grape lemon mango pear plum".split()),
        "instruments": tuple("bell cello drum flute guitar harp horn lute piano viola".split()),
        "tools": tuple("axe brush chisel drill hammer knife ladder pliers saw wrench".split()),
        "vehicles": tuple("bike boat bus car plane ship sled taxi tractor truck".split()),
    }
)
"""Ten items a category, each in one category only."""

ITEMS: Final = tuple(sorted(item for items in CATEGORIES.values() for item in items))
SUBJECTS: Final = CATEGORIES["animals"]
"""Who the sentences of ``tell`` are about."""
VERBS: Final = tuple("bites chases draws finds hears likes moves paints sees wants".split())
NUMBERS: Final = tuple("one two three four five six seven eight nine ten eleven twelve".split())
"""``NUMBERS[i]`` is the word for ``i + 1``."""
OPENERS: Final = tuple("okay right so well".split())
CLOSERS: Final = tuple("bye done enough thanks".split())
FRAME: Final = frozenset(OPENERS + CLOSERS)
"""Words that open or close an answer and are never part of its content."""

GRAMMAR_WORDS: Final = tuple(
    "name sort count say tell from to backwards in alphabetical reverse order times and then "
    "write sentences about the with verbs without start finish , .".split()
)
"""What instructions and sentences need beside the words above."""

RUBRIC_WORDS: Final = tuple(
    "judge topic limits form instruction response score verdict yes no Score: 0 1 2 3 4 5".split()
)
"""What judge messages and verdicts need beside the words above."""


def number_word(value: int) -> str:
    """Return the word for ``value``, 1 to 12."""
    return NUMBERS[value - 1]


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
