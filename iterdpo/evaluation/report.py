"""Everything that is measured of one policy, from records alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from iterdpo.evaluation.judge_quality import judge_quality
from iterdpo.evaluation.oracles import Oracle
from iterdpo.evaluation.statistics import mean_ci
from iterdpo.records import Candidate, Judgment, Prompt


@dataclass(frozen=True, slots=True)
class Quality:
    """Response quality by the oracle, on held-out prompts."""

    mean: float
    """Of sampled answers, in the oracle's points."""
    ci95: tuple[float | None, float | None]
    """Interval of the mean, clustered by prompt."""
    perfect_share: float
    """Share of sampled answers with a perfect score, in [0, 1]."""
    greedy_mean: float
    """Of the greedy answers."""
    n: int
    """Sampled answers."""


@dataclass(frozen=True, slots=True)
class FixedSet:
    """Agreement with the oracle on M0's answers: the same texts for every judge."""

    pairwise_accuracy: float | None
    exact_match: float | None
    spearman: float | None
    kendall_tau: float | None
    n: int
    """Answers judged."""


@dataclass(frozen=True, slots=True)
class OwnAnswers:
    """Agreement with the oracle on the policy's own answers, whose differences shrink as it
    improves: a falling value here is no proof of a worse judge.
    """

    pairwise_accuracy: float | None
    n: int


@dataclass(frozen=True, slots=True)
class JudgeReport:
    """The policy as a judge."""

    fixed_set: FixedSet
    own_answers: OwnAnswers
    parse_rate: float | None
    """Share of all its judgments here that could be read."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was measured of one policy."""

    quality: Quality | None
    """None where there is no oracle."""
    judge: JudgeReport
    judged_mean: float | None
    """Mean score that the policy gives its own sampled answers: what it believes of itself."""
    response_tokens: float
    """Mean length of the sampled answers, in tokens."""
    sampled_by_prompt: Mapping[str, tuple[float, ...]]
    """Oracle scores of the sampled answers by prompt id, for paired comparisons."""
    greedy_by_prompt: Mapping[str, float]
    """Oracle score of the greedy answer by prompt id."""


def evaluate(
    held_out: Sequence[Prompt],
    sampled: Sequence[Candidate],
    greedy: Sequence[Candidate],
    own: Sequence[Judgment],
    labelled: Sequence[Prompt],
    fixed_answers: Sequence[Candidate],
    fixed: Sequence[Judgment],
    oracle: Oracle | None,
) -> Evaluation:
    """Measure one policy.

    Args:
        held_out: the prompts it answered.
        sampled: its sampled answers to them.
        greedy: its greedy answers to them.
        own: its judgments of ``sampled``.
        labelled: the prompts of the fixed set.
        fixed_answers: M0's answers to them.
        fixed: its judgments of ``fixed_answers``.
        oracle: exact scores; None where there are none.
    """
    quality, sampled_scores, greedy_scores = None, {}, {}
    fixed_quality = own_quality = judge_quality([])
    if oracle is not None:
        sampled_scores = oracle_scores(held_out, sampled, oracle)
        greedy_scores = oracle_scores(held_out, greedy, oracle)
        quality = quality_of(sampled_scores, greedy_scores, oracle.perfect)
        own_quality = judge_quality(score_pairs(held_out, sampled, own, oracle))
        fixed_quality = judge_quality(score_pairs(labelled, fixed_answers, fixed, oracle))
    believed = [judgment.score for judgment in own if judgment.score is not None]
    judgments = [*own, *fixed]
    readable = sum(judgment.score is not None for judgment in judgments)
    return Evaluation(
        quality=quality,
        judge=JudgeReport(
            fixed_set=FixedSet(
                pairwise_accuracy=fixed_quality.pairwise_accuracy,
                exact_match=fixed_quality.exact_match,
                spearman=fixed_quality.spearman,
                kendall_tau=fixed_quality.kendall_tau,
                n=len(fixed),
            ),
            own_answers=OwnAnswers(own_quality.pairwise_accuracy, len(own)),
            parse_rate=readable / len(judgments) if judgments else None,
        ),
        judged_mean=fmean(believed) if believed else None,
        response_tokens=fmean([len(answer.token_ids) for answer in sampled] or [0]),
        sampled_by_prompt=sampled_scores,
        greedy_by_prompt={prompt: scores[0] for prompt, scores in greedy_scores.items()},
    )


def oracle_scores(
    prompts: Sequence[Prompt], answers: Sequence[Candidate], oracle: Oracle
) -> dict[str, tuple[float, ...]]:
    """Return the oracle's scores of the answers to each prompt, by prompt id."""
    texts = {prompt.id: prompt.text for prompt in prompts}
    scores: defaultdict[str, list[float]] = defaultdict(list)
    for answer in answers:
        scores[answer.prompt_id].append(oracle.score(texts[answer.prompt_id], answer.text))
    return {prompt: tuple(values) for prompt, values in scores.items()}


def quality_of(
    sampled: Mapping[str, Sequence[float]], greedy: Mapping[str, Sequence[float]], perfect: float
) -> Quality | None:
    """Return the quality of answers whose oracle scores are given by prompt id."""
    if not sampled:
        return None
    estimate = mean_ci(sampled)
    values = [score for scores in sampled.values() for score in scores]
    return Quality(
        mean=estimate.mean,
        ci95=(estimate.low, estimate.high),
        perfect_share=fmean(score == perfect for score in values),
        greedy_mean=fmean(score for scores in greedy.values() for score in scores),
        n=len(values),
    )


def score_pairs(
    prompts: Sequence[Prompt],
    answers: Sequence[Candidate],
    judgments: Sequence[Judgment],
    oracle: Oracle,
) -> list[list[tuple[float | None, float]]]:
    """Return, for each prompt, (the judge's score, the oracle's) of each answer to it."""
    texts = {prompt.id: prompt.text for prompt in prompts}
    judged = {judgment.candidate_id: judgment.score for judgment in judgments}
    by_prompt: defaultdict[str, list[tuple[float | None, float]]] = defaultdict(list)
    for answer in answers:
        gold = oracle.score(texts[answer.prompt_id], answer.text)
        by_prompt[answer.prompt_id].append((judged[answer.id], gold))
    return list(by_prompt.values())
