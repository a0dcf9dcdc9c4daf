"""What the pairs of an iteration are like. Each measure is None where there are no pairs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from iterdpo.evaluation.resampling import share_ci
from iterdpo.evaluation.statistics import Estimate
from iterdpo.records import Pair


@dataclass(frozen=True, slots=True)
class PairQuality:
    """What the pairs of an iteration are like."""

    label_accuracy: Estimate | None
    """Share, in [0, 1], whose chosen answer is better by gold scores; None without an oracle."""
    margin_mean: float | None
    """In the judge's points."""
    length_ratio: float | None
    """Mean tokens of chosen over rejected answers."""


def pair_quality(
    pairs: Sequence[Pair], tokens: Mapping[str, int], gold: Mapping[str, float] | None
) -> PairQuality:
    """Measure the pairs of an iteration.

    Args:
        pairs: those that were kept.
        tokens: number of tokens by candidate id.
        gold: gold score by candidate id, of candidates that have one; None without an oracle.
    """
    scored = [pair for pair in pairs if gold and {pair.chosen_id, pair.rejected_id} <= gold.keys()]
    return PairQuality(
        label_accuracy=label_accuracy(scored, gold or {}),
        margin_mean=margin_mean(pairs),
        length_ratio=length_ratio(pairs, tokens),
    )


def label_accuracy(pairs: Sequence[Pair], gold: Mapping[str, float]) -> Estimate | None:
    """Return the share of pairs, in [0, 1], whose chosen answer is better by gold scores.

    Equal gold scores count one half: such a label is neither right nor wrong, as by a coin.

    Args:
        pairs: the pairs.
        gold: gold score by candidate id.

    Raises:
        KeyError: a candidate of a pair has no gold score.
    """
    if not pairs:
        return None
    right: defaultdict[str, list[float]] = defaultdict(list)
    for pair in pairs:
        gap = gold[pair.chosen_id] - gold[pair.rejected_id]
        right[pair.prompt_id].append(0.5 if gap == 0 else float(gap > 0))
    return share_ci(right)


def margin_mean(pairs: Sequence[Pair]) -> float | None:
    """Return the mean of chosen score - rejected score, in the judge's points."""
    return fmean(pair.margin for pair in pairs) if pairs else None


def length_ratio(pairs: Sequence[Pair], tokens: Mapping[str, int]) -> float | None:
    """Return the mean length of the chosen answers over that of the rejected ones.

    Above 1, longer answers are preferred. A ratio of means: one very short answer cannot rule it.

    Args:
        pairs: the pairs.
        tokens: number of tokens by candidate id.

    Returns:
        The ratio, or None when the rejected answers have no tokens either.

    Raises:
        KeyError: a candidate of a pair has no number of tokens.
    """
    chosen = sum(tokens[pair.chosen_id] for pair in pairs)
    rejected = sum(tokens[pair.rejected_id] for pair in pairs)
    return chosen / rejected if rejected else None
