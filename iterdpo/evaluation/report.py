"""Everything that is measured of one policy, from records alone."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from iterdpo.evaluation.answers import best_of, duplicate_share, length_correlation
from iterdpo.evaluation.calibration import Bin, calibration
from iterdpo.evaluation.judge_quality import Scores, judge_quality
from iterdpo.evaluation.resampling import share_ci
from iterdpo.evaluation.statistics import Estimate, Interval, ends, mean_ci
from iterdpo.evaluation.verifiers import score_answer
from iterdpo.records import Candidate, Judgment, Prompt
from iterdpo.verifiers.base import Verifier


@dataclass(frozen=True, slots=True)
class Quality:
    """Response quality by the oracle, on held-out prompts."""

    mean: float
    """Of sampled answers, in the oracle's points."""
    perfect: float
    """The oracle's highest score."""
    ci95: Interval
    """Interval of the mean, clustered by prompt."""
    perfect_share: float
    """Share of sampled answers with a perfect score, in [0, 1]."""
    greedy_mean: float
    """Of the greedy answers."""
    greedy_ci95: Interval
    n: int
    """Sampled answers."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How a judge's scores of some answers agree with the oracle's (arXiv 2401.10020, table 4).

    Each measure is None where it is undefined, and everywhere without an oracle.
    """

    pairwise_accuracy: float | None
    five_best: float | None
    exact_match: float | None
    spearman: float | None
    kendall_tau: float | None
    n: int
    """Answers judged."""
    unscored: int
    """Of these, answers without a score."""
    ci95: Mapping[str, Interval]
    """Interval of each of the five measures that is defined, clustered by prompt."""
    calibration: tuple[Bin, ...]
    """The judge's mean score and the oracle's, by bins of the judge's. Empty without an oracle, and
    for a judge whose scores are not on the oracle's scale."""


@dataclass(frozen=True, slots=True)
class JudgeReport:
    """The policy as a judge."""

    reference_set: Agreement
    """On M0's answers: the same texts for every judge."""
    own_answers: Agreement
    """On the policy's own answers, whose differences shrink as it improves: a falling value here
    is no proof of a worse judge."""
    parse_rate: float | None
    """Share of all its judgments here that could be read."""
    length_correlation: float | None
    """Spearman's correlation of its scores of its own answers with their tokens."""
    ci95: Mapping[str, Interval]
    """Interval of each of these two that is defined, clustered by prompt."""


@dataclass(frozen=True, slots=True)
class BestOf:
    """The answer that a policy's own judgment puts first among ``n`` of its answers."""

    n: int
    quality: Estimate
    """The oracle's score of it."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was measured of one policy."""

    quality: Quality | None
    """None where there is no oracle."""
    judge: JudgeReport
    best_of: tuple[BestOf, ...]
    """For 1, 2, 4, ... of the sampled answers; empty without an oracle."""
    judged_mean: float | None
    """Mean score that the policy gives its own sampled answers: what it believes of itself."""
    judged_mean_ci95: Interval
    """Interval of that mean, clustered by prompt."""
    response_tokens: float
    """Mean length of the sampled answers, in tokens."""
    truncated_share: float | None
    """Share of the sampled answers that ran into the token limit."""
    duplicate_share: float | None
    """Share of the sampled answers that repeat another answer to the same prompt."""
    sampled_by_prompt: Mapping[str, tuple[float, ...]]
    """Oracle scores of the sampled answers by prompt id, for paired comparisons."""
    greedy_by_prompt: Mapping[str, float]
    """Oracle score of the greedy answer by prompt id."""
    judged_by_prompt: Mapping[str, tuple[float, ...]]
    """The policy's own scores of its sampled answers by prompt id, unscored ones left out."""


def evaluate(
    held_out: Sequence[Prompt],
    sampled: Sequence[Candidate],
    greedy: Sequence[Candidate],
    own_judgments: Sequence[Judgment],
    reference_prompts: Sequence[Prompt],
    reference_answers: Sequence[Candidate],
    reference_judgments: Sequence[Judgment],
    oracle: Verifier | None,
    scale: tuple[float, float] | None = (0.0, 5.0),
) -> Evaluation:
    """Measure one policy.

    Args:
        held_out: the prompts it answered.
        sampled: its sampled answers to them.
        greedy: its greedy answers to them.
        own_judgments: its judgments of ``sampled``.
        reference_prompts: the prompts of the judge reference set.
        reference_answers: M0's answers to them.
        reference_judgments: its judgments of these.
        oracle: exact scores; None where there are none.
        scale: the judge's lowest and highest score; None where its scores have no bounds.
    """
    quality, sampled_scores, greedy_scores = None, {}, {}
    both: Mapping[str, Scores] = {}
    on_reference: Mapping[str, Scores] = {}
    if oracle is not None:
        sampled_scores = oracle_scores(held_out, sampled, oracle)
        greedy_scores = oracle_scores(held_out, greedy, oracle)
        quality = quality_of(sampled_scores, greedy_scores, oracle.perfect)
        both = score_pairs(held_out, sampled, own_judgments, oracle)
        on_reference = score_pairs(
            reference_prompts, reference_answers, reference_judgments, oracle
        )
    readable: defaultdict[str, list[float]] = defaultdict(list)
    for judgment in (*own_judgments, *reference_judgments):
        readable[judgment.prompt_id].append(float(judgment.score is not None))
    texts: defaultdict[str, list[str]] = defaultdict(list)
    for answer in sampled:
        texts[answer.prompt_id].append(answer.text)
    scores = judged_scores(sampled, own_judgments)
    believed = {
        prompt: tuple(score for score in values if score is not None)
        for prompt, values in scores.items()
    }
    lengths: defaultdict[str, list[int]] = defaultdict(list)
    for answer in sampled:
        lengths[answer.prompt_id].append(len(answer.token_ids))
    by_length = length_correlation(
        {key: list(zip(values, lengths[key], strict=True)) for key, values in scores.items()}
    )
    of_each = {prompt: values for prompt, values in believed.items() if values}
    of_itself = mean_ci(of_each) if of_each else None
    parsed = share_ci(readable) if readable else None
    found = {"parse_rate": parsed, "length_correlation": by_length}
    return Evaluation(
        quality=quality,
        judge=JudgeReport(
            reference_set=agreement_with_oracle(on_reference, reference_judgments, scale, oracle),
            own_answers=agreement_with_oracle(both, own_judgments, scale, oracle),
            parse_rate=parsed.mean if parsed else None,
            length_correlation=by_length.mean if by_length else None,
            ci95={name: ends(value) for name, value in found.items() if value},
        ),
        best_of=best_of_each(both),
        judged_mean=of_itself.mean if of_itself else None,
        judged_mean_ci95=ends(of_itself) if of_itself else (None, None),
        response_tokens=fmean([len(answer.token_ids) for answer in sampled] or [0]),
        truncated_share=fmean(answer.truncated for answer in sampled) if sampled else None,
        duplicate_share=duplicate_share(texts),
        sampled_by_prompt=sampled_scores,
        greedy_by_prompt={prompt: values[0] for prompt, values in greedy_scores.items()},
        judged_by_prompt=of_each,
    )


def agreement_with_oracle(
    both: Mapping[str, Scores],
    judgments: Sequence[Judgment],
    scale: tuple[float, float] | None,
    oracle: Verifier | None,
) -> Agreement:
    """Return how the judge's scores agree with the oracle's.

    Args:
        both: by prompt, (the judge's score or None, the oracle's) of each answer; empty without an
            oracle.
        judgments: what the judge said of these answers.
        scale: the judge's lowest and highest score; None where its scores have no bounds.
        oracle: whose scores they are.
    """
    # Where scores have no bounds, none of them is the highest.
    low, high = scale or (0.0, math.inf)
    quality = judge_quality(list(both.values()), perfect=high)
    judged = [score for answers in both.values() for score, _ in answers if score is not None]
    same = oracle is not None and scale == (0.0, oracle.perfect)
    on_scale = same and all(low <= score <= high for score in judged)
    return Agreement(
        pairwise_accuracy=quality.pairwise_accuracy,
        five_best=quality.five_best,
        exact_match=quality.exact_match,
        spearman=quality.spearman,
        kendall_tau=quality.kendall_tau,
        n=len(judgments),
        unscored=sum(judgment.score is None for judgment in judgments),
        ci95=quality.ci95,
        calibration=calibration(both.values(), low, high) if on_scale else (),
    )


def best_of_each(both: Mapping[str, Scores]) -> tuple[BestOf, ...]:
    """Return the best of 1, 2, 4, ... answers, as far as every prompt has as many."""
    fewest = min(map(len, both.values()), default=0)
    sizes = [2**power for power in range(fewest.bit_length())]
    return tuple(BestOf(n, best_of(n, both)) for n in sizes)


def judged_scores(
    answers: Sequence[Candidate], judgments: Sequence[Judgment]
) -> dict[str, tuple[float | None, ...]]:
    """Return the judge's score of each answer, None without one, by prompt id.

    Raises:
        KeyError: an answer was not judged.
    """
    judged = {judgment.candidate_id: judgment.score for judgment in judgments}
    scores: defaultdict[str, list[float | None]] = defaultdict(list)
    for answer in answers:
        scores[answer.prompt_id].append(judged[answer.id])
    return {prompt: tuple(values) for prompt, values in scores.items()}


def scores_by_prompt(judgments: Sequence[Judgment]) -> dict[str, list[float | None]]:
    """Return a judge's scores, None where there is none, by prompt id and in their order."""
    scores: defaultdict[str, list[float | None]] = defaultdict(list)
    for judgment in judgments:
        scores[judgment.prompt_id].append(judgment.score)
    return dict(scores)


def oracle_scores(
    prompts: Sequence[Prompt], answers: Sequence[Candidate], oracle: Verifier
) -> dict[str, tuple[float, ...]]:
    """Return the oracle's scores of the answers to each prompt, by prompt id."""
    by_id = {prompt.id: prompt for prompt in prompts}
    scores: defaultdict[str, list[float]] = defaultdict(list)
    for answer in answers:
        score = score_answer(oracle, by_id[answer.prompt_id], answer.text)
        scores[answer.prompt_id].append(score)
    return {prompt: tuple(values) for prompt, values in scores.items()}


def quality_of(
    sampled: Mapping[str, Sequence[float]], greedy: Mapping[str, Sequence[float]], perfect: float
) -> Quality | None:
    """Return the quality of answers whose oracle scores are given by prompt id."""
    if not sampled:
        return None
    estimate, of_greedy = mean_ci(sampled), mean_ci(greedy)
    values = [score for scores in sampled.values() for score in scores]
    return Quality(
        mean=estimate.mean,
        perfect=perfect,
        ci95=(estimate.low, estimate.high),
        perfect_share=fmean(score == perfect for score in values),
        greedy_mean=of_greedy.mean,
        greedy_ci95=(of_greedy.low, of_greedy.high),
        n=len(values),
    )


def score_pairs(
    prompts: Sequence[Prompt],
    answers: Sequence[Candidate],
    judgments: Sequence[Judgment],
    oracle: Verifier,
) -> dict[str, list[tuple[float | None, float]]]:
    """Return, by prompt id, (the judge's score, the oracle's) of each answer to it."""
    judged = judged_scores(answers, judgments)
    gold = oracle_scores(prompts, answers, oracle)
    return {key: list(zip(scores, gold[key], strict=True)) for key, scores in judged.items()}
