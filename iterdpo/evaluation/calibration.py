"""Whether a judge's points are worth a point: its expected score against the gold one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from iterdpo.evaluation.judge_quality import Scores

_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class Bin:
    """The answers whose judged score lies in [low, high), or up to ``high`` in the last bin."""

    low: float
    high: float
    n: int
    judged: float
    """Their mean judged score."""
    gold: float
    """Their mean gold score: equal to ``judged`` where the judge is calibrated."""


def calibration(
    prompts: Iterable[Scores], low: float = 0.0, high: float = 5.0, bins: int = 10
) -> tuple[Bin, ...]:
    """Return the bins that hold any answer, in rising order, of equal width from low to high.

    Answers that the judge left unscored are in none.

    Args:
        prompts: for each prompt, (the judge's score or None, the gold score) of each answer, both
            on one scale.
        low: the judge's lowest score.
        high: its highest.
        bins: how many; 10 are half a point each from 0 to 5.

    Raises:
        ValueError: a judged score lies outside [low, high], or there is no room for bins.
    """
    if not low < high or bins < 1:
        raise ValueError(f"{bins} bins from {low} to {high}")
    width = (high - low) / bins
    held: list[list[tuple[float, float]]] = [[] for _ in range(bins)]
    for judged, gold in (answer for answers in prompts for answer in answers):
        if judged is None:
            continue
        # An expected score is a rounded sum and may stick out by its last digit.
        if not low - _ROUNDING * width <= judged <= high + _ROUNDING * width:
            raise ValueError(f"a judged score of {judged}, outside {low} to {high}")
        held[min(max(int((judged - low) / width), 0), bins - 1)].append((judged, gold))
    return tuple(
        Bin(
            low + index * width,
            low + (index + 1) * width,
            len(answers),
            fmean(judged for judged, _ in answers),
            fmean(gold for _, gold in answers),
        )
        for index, answers in enumerate(held)
        if answers
    )


def calibration_error(bins: Sequence[Bin]) -> float | None:
    """Return the expected calibration error, in points: sum over bins of n_b/n · |judged - gold|.

    That of On Calibration of Modern Neural Networks (arXiv 1706.04599), with scores for
    probabilities. 0 is best. A bin with few answers has a gap by chance, so that small samples look
    worse than they are. None where there is no answer.
    """
    count = sum(item.n for item in bins)
    return sum(item.n * abs(item.judged - item.gold) for item in bins) / count if count else None
