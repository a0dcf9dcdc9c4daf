"""How far people agree, beyond what chance would give: pure arithmetic on choices.

Choices are categories without an order (for the first answer, a tie, for the second); what someone
did not choose is missing, not a category.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from itertools import combinations, permutations
from statistics import fmean
from typing import TypeVar

Value = TypeVar("Value", bound=Hashable)


def raw_agreement(units: Sequence[Sequence[Value]]) -> float | None:
    """Return the share, in [0, 1], of pairs of people that chose the same for the same item.

    Args:
        units: for each item, the choices of those who made one.

    Returns:
        The share, or None where no item has two choices.
    """
    same = [a == b for choices in units for a, b in combinations(choices, 2)]
    return fmean(same) if same else None


def cohen_kappa(pairs: Sequence[tuple[Value, Value]]) -> float | None:
    """Return Cohen's kappa of two people (A Coefficient of Agreement for Nominal Scales,
    Educational and Psychological Measurement 20:37, 1960): (p_o - p_e) / (1 - p_e).

    p_o is the share of items on which they agree, p_e the share that their own frequencies would
    give by chance: the sum over categories of the product of their shares.

    Args:
        pairs: the two choices for each item that both made one for.

    Returns:
        At most 1; 0 is chance. None where there is no item, or both always chose the same one
        category and chance alone explains everything.
    """
    if not pairs:
        return None
    n = len(pairs)
    first, second = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    observed = sum(a == b for a, b in pairs) / n
    # Whole numbers decide whether anything is left beside chance: shares would be rounded.
    chance = sum(first[choice] * second[choice] for choice in first)
    if chance == n * n:
        return None
    expected = chance / (n * n)
    return (observed - expected) / (1 - expected)


def krippendorff_alpha(units: Sequence[Sequence[Value]]) -> float | None:
    """Return Krippendorff's alpha for nominal data, any number of people, gaps allowed.

    alpha = 1 - D_o / D_e (Computing Krippendorff's Alpha-Reliability, 2011, section D). With the
    coincidences o_ck = sum over items u of (ordered pairs c-k in u) / (m_u - 1), where m_u is the
    number of choices for u, their margins n_c and their sum n:
    alpha = 1 - (n - 1) · sum over c≠k of o_ck / sum over c≠k of n_c · n_k

    Args:
        units: for each item, the choices of those who made one; items with fewer than two of them
            say nothing and are left out.

    Returns:
        At most 1; 0 is chance. None where no item has two choices, or all choices are the same.
    """
    weights: dict[tuple[Value, Value], float] = {}
    for choices in units:
        if len(choices) >= 2:
            for pair, count in Counter(permutations(choices, 2)).items():
                weights[pair] = weights.get(pair, 0.0) + count / (len(choices) - 1)
    margins: dict[Value, float] = {}
    for (choice, _), weight in weights.items():
        margins[choice] = margins.get(choice, 0.0) + weight
    if len(margins) < 2:
        return None
    n = sum(margins.values())
    observed = sum(weight for (a, b), weight in weights.items() if a != b)
    expected = sum(margins[a] * margins[b] for a, b in permutations(margins, 2))
    return 1 - (n - 1) * observed / expected


def agreement_of(choices: Mapping[str, Mapping[str, Value]]) -> dict[str, float | int | None]:
    """Return how far people agree on the items that at least two of them labeled.

    Args:
        choices: by person, the choice by item id.

    Returns:
        ``items`` with two choices or more, ``raw`` agreement, ``krippendorff_alpha``, and
        ``cohen_kappa`` where there are exactly two people.
    """
    items = {item for own in choices.values() for item in own}
    units = [[own[item] for own in choices.values() if item in own] for item in sorted(items)]
    shared = [unit for unit in units if len(unit) >= 2]
    kappa = cohen_kappa([(a, b) for a, b in shared]) if len(choices) == 2 else None
    return {
        "items": len(shared),
        "raw": raw_agreement(shared),
        "cohen_kappa": kappa,
        "krippendorff_alpha": krippendorff_alpha(shared),
    }
