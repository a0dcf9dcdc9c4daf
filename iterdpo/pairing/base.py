"""From judged candidates to preference pairs, each prospective pair kept or dropped by a reason.

Every prompt has k prospective pairs, so kept + dropped = prompts × k, always. Answers that cannot
be used (unscored, empty, truncated) are set aside first; a strategy pairs the others by rank; what
it pairs must differ in text and in score, by the margin asked for.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from iterdpo.errors import UserError
from iterdpo.records import Candidate, Judgment, Pair, Prompt, record_id


class DropReason(StrEnum):
    """Why a prospective pair was dropped, in the order in which reasons are counted.

    The first five set single answers aside. A pair that cannot be formed, because too few answers
    are left, counts for the first of them that set any answer of its prompt aside.
    """

    UNSCORED = "unscored"
    """The judge gave no finite score."""
    UNFINISHED_THOUGHT = "unfinished_thought"
    """The model thought to the end of its tokens, or closed no thought: there is no answer."""
    EMPTY = "empty"
    """The answer is white space or nothing."""
    TRUNCATED = "truncated"
    """The answer ran into the token limit."""
    TOO_LONG = "too_long"
    """Of a given pair: prompt and answer are more tokens than training reads."""
    TOO_FEW_CANDIDATES = "too_few_candidates"
    """Not enough answers were written: none of the prompt's was set aside."""
    IDENTICAL = "identical"
    """Chosen and rejected are the same text but for white space."""
    TIE = "tie"
    """Chosen and rejected have equal scores."""
    MARGIN = "margin"
    """The scores differ by less than the smallest margin."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """A usable answer with its finite score."""

    candidate: Candidate
    judgment: Judgment
    score: float


class PairSource(ABC):
    """Where an iteration's pairs come from."""

    name: ClassVar[str]
    """Of ours: what keys and records call it, whatever becomes of the class's own name."""
    version: ClassVar[int]
    """Of ours: raised when the same settings would pair otherwise than before."""


class Strategy(PairSource):
    """Says which answers of a prompt to compare: a frozen dataclass of its settings."""

    k: int
    """Prospective pairs a prompt: a setting, a property or a constant."""

    @abstractmethod
    def pair(self, prompt: Prompt, ranked: Sequence[Ranked]) -> Sequence[tuple[Ranked, Ranked]]:
        """Return (chosen, rejected) for at most ``k`` pairs of answers to one prompt.

        Args:
            prompt: what was answered.
            ranked: the usable answers, best first: by falling score and, where scores are equal,
                rising index.
        """


@dataclass(frozen=True, slots=True)
class Pairing:
    """The pairs of an iteration, and what became of the others."""

    kept: tuple[Pair, ...]
    """In the order of the prompts, then of the strategy."""
    dropped: Mapping[DropReason, int]
    """Every reason with its number of prospective pairs, 0 included."""


def build_pairs(
    prompts: Sequence[Prompt],
    candidates: Sequence[Candidate],
    judgments: Sequence[Judgment],
    strategy: Strategy,
    min_margin: float = 0.0,
) -> Pairing:
    """Pair the answers to each prompt.

    Args:
        prompts: all prompts of the iteration; one without answers counts as dropped.
        candidates: their answers.
        judgments: one for each candidate; others are ignored.
        strategy: which answers to compare.
        min_margin: smallest difference of the scores, in the judge's points, at least 0.

    Raises:
        ValueError: a prompt is given twice, a candidate has no judgment or two of them or belongs
            to no prompt, or the two answers of a pair have different writers or judges.
        UserError: the strategy makes more pairs of a prompt than its ``k``.
    """
    answers = _usable_or_reason(prompts, candidates, judgments)
    kept: list[Pair] = []
    dropped: Counter[DropReason] = Counter()
    for prompt in prompts:
        usable = [item for item in answers[prompt.id] if isinstance(item, Ranked)]
        aside = {item for item in answers[prompt.id] if isinstance(item, DropReason)}
        usable.sort(key=lambda item: (-item.score, item.candidate.index))
        formed = strategy.pair(prompt, usable)
        if len(formed) > strategy.k:
            raise UserError(
                f"pairs: {type(strategy).__name__} makes {len(formed)} pairs of a prompt, its k is "
                f"{strategy.k}; raise k, so that kept and dropped pairs add up"
            )
        for chosen, rejected in formed:
            reason = _drop_reason(chosen, rejected, min_margin)
            if reason is None:
                kept.append(make_pair(prompt, chosen, rejected))
            else:
                dropped[reason] += 1
        first = next((reason for reason in DropReason if reason in aside), None)
        dropped[first or DropReason.TOO_FEW_CANDIDATES] += strategy.k - len(formed)
    return Pairing(tuple(kept), {reason: dropped[reason] for reason in DropReason})


def _usable_or_reason(
    prompts: Sequence[Prompt], candidates: Sequence[Candidate], judgments: Sequence[Judgment]
) -> dict[str, list[Ranked | DropReason]]:
    """Return by prompt id its answers, each ranked or with the reason that sets it aside."""
    answers: dict[str, list[Ranked | DropReason]] = {prompt.id: [] for prompt in prompts}
    if len(answers) < len(prompts):
        raise ValueError("a prompt is given twice")
    judged: defaultdict[str, list[Judgment]] = defaultdict(list)
    for judgment in judgments:
        judged[judgment.candidate_id].append(judgment)
    for candidate in candidates:
        if candidate.prompt_id not in answers:
            raise ValueError(f"candidate {candidate.id}: no prompt {candidate.prompt_id}")
        if len(judged[candidate.id]) != 1:
            count = len(judged[candidate.id])
            raise ValueError(f"candidate {candidate.id}: {count} judgments, expected 1")
        answers[candidate.prompt_id].append(_assess(candidate, judged[candidate.id][0]))
    return answers


def _assess(candidate: Candidate, judgment: Judgment) -> Ranked | DropReason:
    if candidate.unfinished_thought:
        return DropReason.UNFINISHED_THOUGHT
    score = judgment.score
    if score is None or not math.isfinite(score):
        return DropReason.UNSCORED
    if not candidate.text.strip():
        return DropReason.EMPTY
    if candidate.truncated:
        return DropReason.TRUNCATED
    return Ranked(candidate, judgment, score)


def _drop_reason(chosen: Ranked, rejected: Ranked, min_margin: float) -> DropReason | None:
    if chosen.candidate.text.split() == rejected.candidate.text.split():
        return DropReason.IDENTICAL
    if chosen.score == rejected.score:
        return DropReason.TIE
    if chosen.score - rejected.score < min_margin:
        return DropReason.MARGIN
    return None


def make_pair(prompt: Prompt, chosen: Ranked, rejected: Ranked) -> Pair:
    """Return the record of a pair, named by its answers and their judgments.

    Raises:
        ValueError: the answers have different writers or judges.
    """
    good, bad = chosen.candidate, rejected.candidate
    if good.policy != bad.policy or chosen.judgment.judge != rejected.judgment.judge:
        raise ValueError(f"candidates {good.id} and {bad.id}: different writers or judges")
    parents = (good.id, bad.id, chosen.judgment.id, rejected.judgment.id)
    return Pair(
        id=record_id("pair", parents, 0, ""),
        prompt_id=prompt.id,
        chosen_id=good.id,
        rejected_id=bad.id,
        prompt=prompt.text,
        chosen=good.text,
        rejected=bad.text,
        chosen_score=chosen.score,
        rejected_score=rejected.score,
        policy=good.policy,
        judge=chosen.judgment.judge,
    )
