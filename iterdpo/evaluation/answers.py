"""What a policy's sampled answers are like, and what choosing among them by its judgment gains."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from statistics import fmean

from iterdpo.evaluation.judge_quality import Scores
from iterdpo.evaluation.statistics import Estimate, Key, mean_ci


def best_of(n: int, scored_by_prompt: Mapping[Key, Scores]) -> Estimate:
    """Return the expected gold score of the answer that the judge puts first among ``n``.

    The n are drawn without replacement from a prompt's N answers. The expectation is over all
    C(N, n) draws, by counting: with A answers above them, g equally judged answers hold first place
    in C(N - A, n) - C(N - A - g, n) draws. Which of them is then taken is left to chance, and that
    is the mean of their gold scores. An answer that the judge left unscored comes after all that
    it scored. So ``best_of(1, ...)`` is the quality of the answers as they come.

    Args:
        n: answers to choose from, at least 1.
        scored_by_prompt: by prompt, (the judge's score or None, the gold score) of each answer.

    Returns:
        The mean over prompts, in gold's points, with its interval clustered by prompt.

    Raises:
        ValueError: ``n`` is below 1, there is no prompt, or one has fewer than ``n`` answers.
    """
    if n < 1 or not scored_by_prompt:
        raise ValueError(f"best of {n} among the answers to {len(scored_by_prompt)} prompts")
    fewest = min(map(len, scored_by_prompt.values()))
    if fewest < n:
        raise ValueError(f"best of {n}, but a prompt has {fewest} answers")
    return mean_ci({key: [_best_of(n, answers)] for key, answers in scored_by_prompt.items()})


def _best_of(n: int, answers: Scores) -> float:
    ranks = [(-math.inf if judged is None else judged, gold) for judged, gold in answers]
    ranks.sort(key=lambda answer: -answer[0])
    left, total = len(ranks), 0.0
    for _, tied in groupby(ranks, key=lambda answer: answer[0]):
        golds = [gold for _, gold in tied]
        first = math.comb(left, n) - math.comb(left - len(golds), n)
        total += first * fmean(golds)
        left -= len(golds)
    return total / math.comb(len(ranks), n)


def duplicate_share(texts_by_prompt: Mapping[Key, Sequence[str]]) -> float | None:
    """Return the share of answers that equal another answer to the same prompt, white space aside.

    Both of two equal answers count: where all are the same it is 1. None where there is no answer.
    """
    equal = total = 0
    for texts in texts_by_prompt.values():
        copies = Counter(tuple(text.split()) for text in texts)
        equal += sum(count for count in copies.values() if count > 1)
        total += len(texts)
    return equal / total if total else None


def length_correlation(scores: Sequence[float | None], tokens: Sequence[int]) -> float | None:
    """Return Spearman's ρ of scores with lengths, over the answers that have a score.

    Above 0, longer answers are scored higher. None where it is undefined: fewer than two scores,
    or all scores or all lengths equal.

    Raises:
        ValueError: there are not as many lengths as scores.
    """
    from scipy.stats import spearmanr

    if len(scores) != len(tokens):
        raise ValueError(f"{len(scores)} scores and {len(tokens)} lengths")
    known = [(x, y) for x, y in zip(scores, tokens, strict=True) if x is not None]
    if len({x for x, _ in known}) < 2 or len({y for _, y in known}) < 2:
        return None
    return float(spearmanr([x for x, _ in known], [y for _, y in known]).statistic)
