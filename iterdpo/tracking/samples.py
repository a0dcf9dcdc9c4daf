"""What is shown of an iteration's answers: some prompts with all of theirs, some pairs, and how the
scores, margins and lengths of all of them lie.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from iterdpo.records import Candidate, Judgment, Pair, Prompt, Unscored

Item = TypeVar("Item")

PAIRS_A_PROMPT = 4
"""Pairs shown for each prompt that is shown with its answers."""


@dataclass(frozen=True)
class Answered:
    """The records of one iteration."""

    iteration: int
    prompts: Sequence[Prompt]
    candidates: Sequence[Candidate]
    judgments: Sequence[Judgment]
    pairs: Sequence[Pair]

    @property
    def margins(self) -> dict[str, float]:
        """The largest margin among each prompt's pairs, by prompt id; none where it has no pair."""
        largest: dict[str, float] = {}
        for pair in self.pairs:
            largest[pair.prompt_id] = max(pair.margin, largest.get(pair.prompt_id, pair.margin))
        return largest


def sample_rows(made: Answered, prompts: int) -> list[dict[str, object]]:
    """Return a row for each answer to at most ``prompts`` of the prompts, spread over the margins.

    The prompts stand in rising order of their largest margin, those without a pair first, and are
    taken at even distances, both ends included: every range of margins is shown by its share.
    """
    margins = made.margins
    order = sorted(made.prompts, key=lambda prompt: margins.get(prompt.id, float("-inf")))
    marks = {pair.chosen_id: "chosen" for pair in made.pairs}
    marks |= {pair.rejected_id: "rejected" for pair in made.pairs}
    judged = {judgment.candidate_id: judgment for judgment in made.judgments}
    answers: dict[str, list[Candidate]] = {}
    for candidate in made.candidates:
        answers.setdefault(candidate.prompt_id, []).append(candidate)
    return [
        {
            "iteration": made.iteration,
            "prompt": prompt.text,
            "answer": candidate.text,
            "score": judged[candidate.id].score,
            "mark": marks.get(candidate.id, ""),
            "margin": margins.get(prompt.id),
            "tokens": len(candidate.token_ids),
            "truncated": candidate.truncated,
            "unscored": _reason(judged[candidate.id]),
            "judge_wrote": "\n\n".join(judged[candidate.id].raw),
        }
        for prompt in evenly(order, prompts)
        for candidate in answers.get(prompt.id, ())
    ]


def pair_rows(made: Answered, pairs: int) -> list[dict[str, object]]:
    """Return a row for each of at most ``pairs`` preference pairs, spread over the margins."""
    tokens = {candidate.id: len(candidate.token_ids) for candidate in made.candidates}
    return [
        {
            "iteration": made.iteration,
            "prompt": pair.prompt,
            "chosen": pair.chosen,
            "rejected": pair.rejected,
            "margin": pair.margin,
            "chosen_score": pair.chosen_score,
            "rejected_score": pair.rejected_score,
            "chosen_tokens": tokens[pair.chosen_id],
            "rejected_tokens": tokens[pair.rejected_id],
        }
        for pair in evenly(sorted(made.pairs, key=lambda pair: pair.margin), pairs)
    ]


def distributions(made: Answered) -> Mapping[str, Sequence[float]]:
    """Return the judge's scores, the pairs' margins, and the answers' lengths in tokens."""
    tokens = {candidate.id: len(candidate.token_ids) for candidate in made.candidates}
    scores = (judgment.score for judgment in made.judgments)
    return {
        "score": [score for score in scores if score is not None],
        "margin": [pair.margin for pair in made.pairs],
        "tokens": list(tokens.values()),
        "chosen_tokens": [tokens[pair.chosen_id] for pair in made.pairs],
        "rejected_tokens": [tokens[pair.rejected_id] for pair in made.pairs],
    }


def evenly(items: Sequence[Item], count: int) -> list[Item]:
    """Return ``count`` items at even distances, both ends included, or all if there are fewer.

    One alone is the middle one.
    """
    if count >= len(items):
        return list(items)
    if count == 1:
        return [items[(len(items) - 1) // 2]]
    return [items[i * (len(items) - 1) // (count - 1)] for i in range(count)]


def _reason(judgment: Judgment) -> str:
    verdict = judgment.verdict
    return verdict.reason.value if isinstance(verdict, Unscored) else ""
