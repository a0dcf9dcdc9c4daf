"""Which pairs a page holds when it cannot hold all: a sample by iteration and margin.

The same pairs are chosen every time: the order within a stratum is that of the pairs' ids, which
are hashes and so as good as random.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise

QUARTERS = 4


@dataclass(frozen=True, slots=True)
class PairEntry:
    """What choosing needs to know of one pair."""

    id: str
    group: Hashable
    """Its run and iteration."""
    margin: float
    wrong: bool
    """Whether its label is known to be wrong."""
    size: int
    """Bytes that it takes in the page."""


def choose(items: Sequence[PairEntry], budget: int) -> list[int]:
    """Return the positions of the items to keep, in order, of at most ``budget`` bytes in all.

    All are kept where they fit. Else wrong labels may take the first half of the budget, all others
    what is left, and wrong labels again what those leave. Each time the strata (a quarter of a
    group by margin each) give one after the other in turn until nothing more fits.
    """
    if sum(item.size for item in items) <= budget:
        return list(range(len(items)))
    strata = _strata(items)
    kept: set[int] = set()
    wrong = [[i for i in stratum if items[i].wrong] for stratum in strata]
    others = [[i for i in stratum if not items[i].wrong] for stratum in strata]
    left = budget - _take(items, wrong, budget // 2, kept)
    left -= _take(items, others, left, kept)
    _take(items, [[i for i in stratum if i not in kept] for stratum in wrong], left, kept)
    return sorted(kept)


def _strata(items: Sequence[PairEntry]) -> list[list[int]]:
    groups: defaultdict[Hashable, list[int]] = defaultdict(list)
    for position, item in enumerate(items):
        groups[item.group].append(position)
    strata = []
    for members in groups.values():
        by_margin = sorted(members, key=lambda i: (items[i].margin, items[i].id))
        cuts = [len(by_margin) * quarter // QUARTERS for quarter in range(QUARTERS + 1)]
        for low, high in pairwise(cuts):
            strata.append(sorted(by_margin[low:high], key=lambda i: items[i].id))
    return strata


def _take(
    items: Sequence[PairEntry], strata: Sequence[Sequence[int]], budget: int, kept: set[int]
) -> int:
    """Add to ``kept`` in turn what fits, and return the bytes taken."""
    taken = 0
    for rank in range(max(map(len, strata), default=0)):
        for stratum in strata:
            if rank < len(stratum) and taken + items[stratum[rank]].size <= budget:
                kept.add(stratum[rank])
                taken += items[stratum[rank]].size
    return taken
