"""How well a judge's scores agree with gold ones (arXiv 2401.10020, table 4).

All five measures compare answers to the same prompt. An answer that the judge left unscored is left
out and counted. A prompt counts only where two or more of its scored answers differ in gold score:
the paper's gold is a ranking without ties, and of equal answers none can be put first wrongly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, combinations
from statistics import fmean
from typing import Literal

from iterdpo.evaluation.resampling import share_ci
from iterdpo.evaluation.statistics import Estimate, Interval, Key, ends, mean_ci

Scores = Sequence[tuple[float | None, float]]
"""(the judge's score or None, the gold score) of each answer to one prompt."""
Ranking = Sequence[tuple[float, float]]
"""The same without unscored answers."""


@dataclass(frozen=True, slots=True)
class JudgeQuality:
    """The paper's table 4 for one judge on some answers. None where a measure is undefined."""

    pairwise_accuracy: float | None
    """In [0, 1]; 0.5 is chance."""
    exact_match: float | None
    """In [0, 1]."""
    five_best: float | None
    """In [0, 1]."""
    spearman: float | None
    """In [-1, 1]."""
    kendall_tau: float | None
    """In [-1, 1]."""
    n: int
    """Prompts that count."""
    pairs: int
    """Pairs of answers that ``pairwise_accuracy`` is over."""
    unscored: int
    """Answers, of all prompts, that the judge left unscored."""
    ci95: Mapping[str, Interval]
    """Interval of each of the five measures that is defined, clustered by prompt."""


def judge_quality(prompts: Sequence[Scores], perfect: float = 5.0) -> JudgeQuality:
    """Compare a judge with gold on the answers to each of ``prompts``.

    Args:
        prompts: for each prompt, the two scores of each answer.
        perfect: the judge's highest score.
    """
    rankings = [
        [(judged, gold) for judged, gold in answers if judged is not None] for answers in prompts
    ]
    telling = [ranking for ranking in rankings if len({gold for _, gold in ranking}) > 1]
    of: dict[str, Callable[[Ranking], list[float]]] = {
        "pairwise_accuracy": pair_outcomes,
        "exact_match": exact_match,
        "five_best": partial(five_best, perfect=perfect),
        "spearman": partial(rank_correlation, measure="spearman"),
        "kendall_tau": partial(rank_correlation, measure="kendall"),
    }
    values = {name: list(map(values_of, telling)) for name, values_of in of.items()}
    return JudgeQuality(
        **{name: _mean(groups) for name, groups in values.items()},
        n=len(telling),
        pairs=sum(map(len, values["pairwise_accuracy"])),
        unscored=sum(judged is None for answers in prompts for judged, _ in answers),
        ci95={name: _interval(name, groups) for name, groups in values.items() if any(groups)},
    )


def agreement(
    judged_a_by_prompt: Mapping[Key, Sequence[float | None]],
    judged_b_by_prompt: Mapping[Key, Sequence[float | None]],
) -> Estimate | None:
    """Return the mean over prompts of Kendall's τ-b between two judges' scores, in [-1, 1].

    CREAM (arXiv 2410.12735) measures by it how consistently two consecutive models rank the same
    answers. Answers that either judge left unscored are left out; so are prompts where either then
    gives all answers one score. None where no prompt is left.

    Args:
        judged_a_by_prompt: one judge's scores of the answers to each prompt.
        judged_b_by_prompt: the other's, of the same answers in the same order.

    Raises:
        ValueError: the prompts, or the number of answers to one, are not the same.
    """
    if judged_a_by_prompt.keys() != judged_b_by_prompt.keys():
        odd = sorted(map(str, judged_a_by_prompt.keys() ^ judged_b_by_prompt.keys()))
        raise ValueError(f"{len(odd)} prompts were judged by one judge only, such as {odd[0]}")
    values: dict[Key, list[float]] = {}
    for key, scores in judged_a_by_prompt.items():
        others = judged_b_by_prompt[key]
        if len(scores) != len(others):
            raise ValueError(f"prompt {key}: {len(scores)} scores against {len(others)}")
        pairs = zip(scores, others, strict=True)
        known = [(a, b) for a, b in pairs if a is not None and b is not None]
        if found := rank_correlation(known, "kendall"):
            values[key] = found
    return mean_ci(values) if values else None


def pair_outcomes(ranking: Ranking) -> list[float]:
    """Return 1, 1/2 or 0 for each pair that differs in gold: right, tied by the judge, wrong."""
    return [
        0.5 if a == b else float((a > b) == (gold_a > gold_b))
        for (a, gold_a), (b, gold_b) in combinations(ranking, 2)
        if gold_a != gold_b
    ]


def exact_match(ranking: Ranking) -> list[float]:
    """Return whether the judge gives the whole gold order, 1 or 0; nothing where gold has none.

    Every pair that differs in gold must be ordered right, strictly. Answers of equal gold may stand
    in any order: the paper's rankings have no ties, and a judge with fractional scores makes none.
    """
    outcomes = pair_outcomes(ranking)
    return [float(all(outcome == 1 for outcome in outcomes))] if outcomes else []


def five_best(ranking: Ranking, perfect: float = 5.0) -> list[float]:
    """Return, for each answer that the judge scores perfect, whether its gold is the best.

    The paper's judge gives whole points. Here a score counts as perfect when it is nearer to
    ``perfect`` than to one point less, so that expected and averaged scores can be perfect too.
    """
    best = max((gold for _, gold in ranking), default=0.0)
    return [float(gold == best) for judged, gold in ranking if judged > perfect - 0.5]


def rank_correlation(ranking: Ranking, measure: Literal["spearman", "kendall"]) -> list[float]:
    """Return Spearman's ρ or Kendall's τ-b of the judge and gold, in [-1, 1].

    Nothing where either gives all answers one score: there is no correlation.
    """
    from scipy.stats import kendalltau, spearmanr

    correlate = {"spearman": spearmanr, "kendall": kendalltau}[measure]
    judged, gold = [x for x, _ in ranking], [y for _, y in ranking]
    if len(set(judged)) < 2 or len(set(gold)) < 2:
        return []
    return [float(correlate(judged, gold).statistic)]


def _mean(values_by_prompt: Iterable[Sequence[float]]) -> float | None:
    values = list(chain.from_iterable(values_by_prompt))
    return fmean(values) if values else None


def _interval(measure: str, values_by_prompt: Sequence[Sequence[float]]) -> Interval:
    values = {place: own for place, own in enumerate(values_by_prompt) if own}
    correlation = measure in ("spearman", "kendall_tau")
    return ends(mean_ci(values), within=(-1.0, 1.0)) if correlation else ends(share_ci(values))
