"""Examples of judging (EFT data) made from human rankings and a model's own verdicts.

Self-Rewarding Language Models (arXiv 2401.10020, sections 2.1 and 3.1): a model writes verdicts on
answers that people have ranked; where its scores put the answers in the people's order, the
verdicts are kept to learn from; and since most of them give the same score, some of those are left
out again.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from iterdpo.data.converting import convert
from iterdpo.data.instructions import RankedAnswers
from iterdpo.data.rows import Row
from iterdpo.data.values import RowError, field_of, text_of
from iterdpo.records import Scored, Verdict

VERDICT_COLUMNS = ("prompt", "response", "judgment")
"""Every field that ``read_judgments`` looks at."""


class EftDrop(StrEnum):
    """Why verdicts were not kept."""

    TOO_FEW_ANSWERS = "too_few_answers"
    """Fewer than two answers were ranked: there is no order to agree with."""
    UNREADABLE = "unreadable"
    """One of the verdicts on a question's answers gave no score."""
    DISAGREES = "disagrees"
    """The scores do not put the answers in the people's order."""
    SPARE = "spare"
    """An earlier set of verdicts on the same answers is kept already."""
    COMMON_SCORE = "common_score"
    """Left out to balance the scores."""


@dataclass(frozen=True, slots=True)
class SampledVerdict:
    """What a model said of one answer, and the score that was read from it."""

    text: str
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class JudgingExample:
    """A verdict to learn from. The request for it is the rubric's, made when it is learned."""

    prompt: str
    response: str
    judgment: str
    """The verdict in words, its score at the end."""
    score: float
    row: str
    """Place of the ranked answers in their source."""


@dataclass(frozen=True, slots=True)
class JudgingExamples:
    """What was kept, and what became of the other verdicts."""

    kept: tuple[JudgingExample, ...]
    dropped: Mapping[EftDrop, int]
    """Every reason with its number of verdicts, 0 included: kept and dropped add up to all."""


def agrees(scores: Sequence[float]) -> bool:
    """Tell whether scores, in the people's order with the best first, put the answers in it.

    No answer may have a higher score than one that people put before it, and the first must have
    a higher score than the last: two equal scores in between are no contradiction on a scale with
    six steps, but all equal says nothing.
    """
    falling = all(left >= right for left, right in pairwise(scores))
    return falling and scores[0] > scores[-1]


def build_judging_examples(
    ranked: Sequence[RankedAnswers],
    verdicts: Sequence[Sequence[Sequence[SampledVerdict]]],
    *,
    max_ratio: float = 1.0,
    seed: int = 0,
) -> JudgingExamples:
    """Keep the verdicts whose scores agree with the people's order, and balance their scores.

    The k-th verdicts on all answers to a question are one judgment of it; the first judgment that
    is readable and agrees is kept whole.

    Args:
        ranked: Questions with their answers, best first.
        verdicts: ``verdicts[i][j][k]`` is the k-th on the j-th answer to the i-th question; there
            are equally many on all answers to a question.
        max_ratio: How many times as often as the next score the most common one may come, at
            least 1; more are left out, chosen by hash.
        seed: Decides which of the most common score are left out.

    Raises:
        ValueError: the verdicts do not fit the answers.
    """
    if max_ratio < 1:
        raise ValueError(f"max_ratio={max_ratio} must be at least 1")
    kept: list[JudgingExample] = []
    dropped: Counter[EftDrop] = Counter()
    for item, given in zip(ranked, verdicts, strict=True):
        if len(given) != len(item.answers) or len({len(some) for some in given}) > 1:
            raise ValueError(f"{item.row}: the verdicts do not fit its {len(item.answers)} answers")
        found = False
        for judgment in zip(*given, strict=True):
            reason = EftDrop.SPARE if found else _reason(judgment)
            if reason is not None:
                dropped[reason] += len(judgment)
                continue
            found = True
            kept += [
                JudgingExample(item.prompt, answer, said.text, said.verdict.score, item.row)
                for answer, said in zip(item.answers, judgment, strict=True)
                if isinstance(said.verdict, Scored)
            ]
    balanced = balance(kept, max_ratio, seed)
    dropped[EftDrop.COMMON_SCORE] = len(kept) - len(balanced)
    return JudgingExamples(tuple(balanced), {reason: dropped[reason] for reason in EftDrop})


def _reason(judgment: Sequence[SampledVerdict]) -> EftDrop | None:
    if len(judgment) < 2:
        return EftDrop.TOO_FEW_ANSWERS
    scores = [said.verdict.score for said in judgment if isinstance(said.verdict, Scored)]
    if len(scores) < len(judgment):
        return EftDrop.UNREADABLE
    return None if agrees(scores) else EftDrop.DISAGREES


def balance(
    examples: Sequence[JudgingExample], max_ratio: float, seed: int
) -> list[JudgingExample]:
    """Return the examples without the surplus of the most common score, in their order.

    Scores count by their rounded value. The most common may come at most ``max_ratio`` times as
    often as the next, and at least once; with a single score there is nothing to balance.
    """
    counts = Counter(round(example.score) for example in examples).most_common(2)
    if len(counts) < 2:
        return list(examples)
    (common, _), (_, next_count) = counts
    most = max(1, int(max_ratio * next_count))

    def place(number: int) -> bytes:
        item = examples[number]
        told = json.dumps([seed, item.prompt, item.response, item.judgment])
        return hashlib.sha256(told.encode("ascii")).digest()

    same = [number for number, item in enumerate(examples) if round(item.score) == common]
    surplus = set(sorted(same, key=place)[most:])
    return [item for number, item in enumerate(examples) if number not in surplus]


def read_judgments(
    rows: Iterable[Row], parse: Callable[[str], Verdict], *, key: str
) -> list[JudgingExample]:
    """Return EFT examples that somebody gave: rows of ``prompt``, ``response`` and ``judgment``.

    Args:
        rows: As ``data.source.read_source`` returns them.
        parse: Reads the score out of a judgment, such as ``judging.verdicts.parse_score``.
        key: The setting and its value, for messages.

    Raises:
        UserError: rows are broken, or a judgment has no readable score; the first few are named.
    """

    def example(row: Row) -> JudgingExample:
        prompt, response, judgment = (
            text_of(field_of(row.fields, name), name) for name in VERDICT_COLUMNS
        )
        if not prompt.strip():
            raise RowError("prompt is empty")
        verdict = parse(judgment)
        if not isinstance(verdict, Scored):
            raise RowError(f"judgment has no readable score ({verdict.reason.value})")
        return JudgingExample(prompt, response, judgment, verdict.score, row.where)

    return convert(rows, example, key)
