"""How right a judge is about answers whose order is known: figures of ``iterdpo judge-check``."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations, pairwise
from statistics import fmean
from typing import Literal

from iterdpo.evaluation.judge_quality import (
    Ranking,
    exact_match,
    five_best,
    pair_outcomes,
    rank_correlation,
)
from iterdpo.evaluation.resampling import share_ci
from iterdpo.evaluation.statistics import Estimate, ends, mean_ci
from iterdpo.records import Judgment, Unscored

MARGIN_BINS = 4


@dataclass(frozen=True, slots=True)
class JudgedAnswers:
    """What a judge said of the labelled answers to one prompt."""

    prompt: str
    """What intervals are clustered by: rows of one prompt share it."""
    answers: tuple[str, ...]
    """Best first."""
    judgments: tuple[Judgment, ...]
    """Of each of ``answers``."""


@dataclass(frozen=True, slots=True)
class MarginBin:
    """Pairs that the judge separates by about as much, and how often it is right about them."""

    low: float
    """Smallest difference of the two scores, above 0."""
    high: float
    n: int
    accuracy: float
    """In [0, 1]; a judge whose confidence means something is more often right further up."""


@dataclass(frozen=True, slots=True)
class JudgeCheck:
    """A judge on labelled answers. An estimate is None where nothing defines it."""

    pairwise_accuracy: Estimate | None
    """Pairs in the labelled order, a tie 1/2; pairs with an unscored answer left out."""
    exact_match: Estimate | None
    five_best: Estimate | None
    """None for a judge without a highest score."""
    spearman: Estimate | None
    kendall_tau: Estimate | None
    accuracy_longer_wrong: Estimate | None
    """``pairwise_accuracy`` of the pairs whose longer answer, in characters, is the worse one."""
    longer_better: Estimate
    """Share of all pairs whose longer answer is the better one, equal lengths 1/2: the accuracy of
    a judge that likes length and nothing else."""
    ties: Estimate | None
    """Share of the scored pairs with equal scores."""
    answers: int
    scored: Estimate
    """Share of the answers."""
    unscored: Mapping[str, int]
    """Answers by reason."""
    mass: Estimate | None
    """Probability of the score tokens before renormalizing; None where none was read."""
    margins: tuple[MarginBin, ...]
    """The pairs that are no ties, in four bins of equal numbers, by rising difference."""

    @property
    def above_chance(self) -> bool:
        """Whether the accuracy's interval lies above 1/2."""
        found = self.pairwise_accuracy
        return found is not None and found.low is not None and found.low > 0.5


def check_judge(items: Sequence[JudgedAnswers], perfect: float | None) -> JudgeCheck:
    """Return the figures of a judge on labelled answers, intervals clustered by prompt.

    Args:
        items: what it said; at least one, with two answers or more each.
        perfect: the judge's highest score; None where scores have no bounds.
    """
    rankings = [(item.prompt, _ranking(item)) for item in items]
    judgments = [(item.prompt, judgment) for item in items for judgment in item.judgments]

    def share(values_of: Callable[[Ranking], list[float]]) -> Estimate | None:
        found = _by_prompt((prompt, values_of(ranking)) for prompt, ranking in rankings)
        return share_ci(found) if found else None

    def mean(measure: Literal["spearman", "kendall"]) -> Estimate | None:
        correlate = partial(rank_correlation, measure=measure)
        found = _by_prompt((prompt, correlate(ranking)) for prompt, ranking in rankings)
        return _within(mean_ci(found), -1.0, 1.0) if found else None

    telling = partial(five_best, perfect=perfect or 0.0)
    wrong = _by_prompt((item.prompt, _longer_wrong(item)) for item in items)
    masses = _by_prompt((p, [j.mass] if j.mass is not None else []) for p, j in judgments)
    verdicts = [judgment.verdict for _, judgment in judgments]
    return JudgeCheck(
        pairwise_accuracy=share(pair_outcomes),
        exact_match=share(exact_match),
        five_best=share(lambda own: telling(own) if len(own) > 1 else [])
        if perfect is not None
        else None,
        spearman=mean("spearman"),
        kendall_tau=mean("kendall"),
        accuracy_longer_wrong=share_ci(wrong) if wrong else None,
        longer_better=share_ci(_by_prompt((item.prompt, _longer_better(item)) for item in items)),
        ties=share(lambda own: [float(a == b) for (a, _), (b, _) in combinations(own, 2)]),
        answers=len(judgments),
        scored=share_ci(_by_prompt((p, [float(j.score is not None)]) for p, j in judgments)),
        unscored=dict(Counter(v.reason.value for v in verdicts if isinstance(v, Unscored))),
        mass=share_ci(masses) if masses else None,
        margins=_margins([ranking for _, ranking in rankings]),
    )


def _within(found: Estimate, lowest: float, highest: float) -> Estimate:
    low, high = ends(found, (lowest, highest))
    return replace(found, low=low, high=high)


def _ranking(item: JudgedAnswers) -> Ranking:
    """Return (judged, gold) of the scored answers: gold falls by 1 from answer to answer."""
    return [
        (judgment.score, -float(place))
        for place, judgment in enumerate(item.judgments)
        if judgment.score is not None
    ]


def _by_prompt(values: Iterable[tuple[str, list[float]]]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = defaultdict(list)
    for prompt, own in values:
        found[prompt] += own
    return {prompt: own for prompt, own in found.items() if own}


def _longer_wrong(item: JudgedAnswers) -> list[float]:
    found: list[float] = []
    for (better, a), (worse, b) in combinations(zip(item.answers, item.judgments, strict=True), 2):
        if len(worse) > len(better) and a.score is not None and b.score is not None:
            found += pair_outcomes([(a.score, 1.0), (b.score, 0.0)])
    return found


def _longer_better(item: JudgedAnswers) -> list[float]:
    return [
        0.5 if len(better) == len(worse) else float(len(better) > len(worse))
        for better, worse in combinations(item.answers, 2)
    ]


def _margins(rankings: Sequence[Ranking]) -> tuple[MarginBin, ...]:
    gaps = sorted(
        (abs(better - worse), float(better > worse))
        for ranking in rankings
        for (better, _), (worse, _) in combinations(ranking, 2)
        if better != worse
    )
    ends = [len(gaps) * number // MARGIN_BINS for number in range(MARGIN_BINS + 1)]
    parts = [gaps[low:high] for low, high in pairwise(ends) if low < high]
    return tuple(
        MarginBin(own[0][0], own[-1][0], len(own), fmean(right for _, right in own))
        for own in parts
    )
