"""What a policy's sampled answers are like, and what choosing among them by its judgment gains."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain, groupby
from statistics import fmean
from typing import TYPE_CHECKING

from iterdpo.evaluation.judge_quality import Scores
from iterdpo.evaluation.resampling import bootstrap_ci
from iterdpo.evaluation.statistics import Estimate, Key, mean_ci

if TYPE_CHECKING:
    from iterdpo.evaluation.resampling import Floats


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


def length_correlation(
    scored_by_prompt: Mapping[Key, Sequence[tuple[float | None, int]]],
) -> Estimate | None:
    """Return Spearman's ρ of scores with lengths, over the answers that have a score.

    Above 0, longer answers are scored higher. None where it is undefined: fewer than two scores,
    or all scores or all lengths equal. Its interval resamples prompts, the ranks of all answers
    being as they are.

    Args:
        scored_by_prompt: by prompt, (the judge's score or None, tokens) of each answer.
    """
    import numpy as np
    from scipy.stats import rankdata

    known = {
        prompt: [(score, tokens) for score, tokens in answers if score is not None]
        for prompt, answers in scored_by_prompt.items()
    }
    known = {prompt: answers for prompt, answers in known.items() if answers}
    every = list(chain.from_iterable(known.values()))
    if len({score for score, _ in every}) < 2 or len({tokens for _, tokens in every}) < 2:
        return None
    ranks = rankdata(np.array(every), axis=0)

    def correlation(places: Floats, weights: Floats) -> Floats:
        x, y = ranks[places.astype(int)].T
        shares = weights / weights.sum(axis=1, keepdims=True)
        mean_x, mean_y = shares @ x, shares @ y
        spread_x, spread_y = shares @ x**2 - mean_x**2, shares @ y**2 - mean_y**2
        product: Floats = (shares @ (x * y) - mean_x * mean_y) / np.sqrt(spread_x * spread_y)
        return product

    places = iter(range(len(every)))
    return bootstrap_ci(
        {prompt: [next(places) for _ in answers] for prompt, answers in known.items()}, correlation
    )
