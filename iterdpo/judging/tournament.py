"""Scores from comparisons: every answer meets others to its prompt, and its score is how it fared.

A judge of pairs says which of two answers is better, not how good one is. Asked about pairs of the
same prompt it yields a score that is comparable within the prompt, which is all that preference
pairs need:

score = low + (high - low) · mean over its comparisons of the preference for the answer

where the preference is the mean of both orders, in [0, 1], so that a liking for a place cancels
(MT-Bench, arXiv 2306.05685, section 3.4). Over all pairs this orders answers as the Copeland and
Borda counts do when preferences are certain.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean
from typing import Literal

from iterdpo.judging.base import Judge, grouped_by_prompt, judgment, prompt_texts
from iterdpo.judging.pairwise import Arbiter
from iterdpo.records import (
    Candidate,
    Comparison,
    Judgment,
    Policy,
    Prompt,
    Scored,
    Unscored,
    UnscoredReason,
    Verdict,
)


@dataclass(frozen=True, kw_only=True)
class TournamentSettings:
    """Who meets whom, and how the outcome becomes a score."""

    comparisons: Literal["all"] | int
    """How many others each answer meets: all of its prompt's, or about this many, at least 2."""
    min_readable: float
    """With a smaller readable share of its comparisons, in [0, 1], an answer is unscored."""
    low: int
    """The score of an answer that loses every comparison with certainty."""
    high: int
    """The score of one that wins them all."""


def meetings(n: int, comparisons: Literal["all"] | int) -> list[tuple[int, int]]:
    """Return which of ``n`` answers meet, as pairs of places, each pair once.

    Fewer comparisons than all are shared out evenly: the answers stand in a circle and each meets
    its neighbors at the distances 1, 2, ... on both sides, so that all have the same number. An odd
    number of them becomes the next even one.
    """
    if comparisons == "all" or 2 * ((comparisons + 1) // 2) >= n - 1:
        return list(combinations(range(n), 2))
    distances = range(1, (comparisons + 1) // 2 + 1)
    return [(place, (place + distance) % n) for distance in distances for place in range(n)]


@dataclass(frozen=True, slots=True)
class Meeting:
    """A comparison as one of its two answers sees it."""

    opponent: str
    first: float | None
    """Preference for the answer when it is shown first, in [0, 1]; None where it was not read."""
    second: float | None
    """The same when it is shown second."""
    comparison: Comparison

    @property
    def preference(self) -> float | None:
        if self.first is None or self.second is None:
            return None
        return (self.first + self.second) / 2

    def __str__(self) -> str:
        first, second = (
            "unread" if share is None else f"{share:.4f}" for share in (self.first, self.second)
        )
        return f"against {self.opponent}: {first} shown first, {second} shown second"


def met_by_answer(comparisons: Sequence[Comparison]) -> dict[str, list[Meeting]]:
    """Return by candidate id what it met, each comparison from both of its sides."""
    met: defaultdict[str, list[Meeting]] = defaultdict(list)
    for item in comparisons:
        forward, backward = item.forward, item.backward
        met[item.answer_id].append(Meeting(item.opponent_id, forward, backward, item))
        turned = (
            None if backward is None else 1 - backward,
            None if forward is None else 1 - forward,
        )
        met[item.opponent_id].append(Meeting(item.answer_id, *turned, item))
    return dict(met)


def mean_preference(meetings: Sequence[Meeting], min_readable: float) -> float | Unscored:
    """Return the mean preference for an answer, in [0, 1], or why there is none.

    Args:
        meetings: all of the answer's.
        min_readable: the share of them, in [0, 1], that must be readable. None is never enough.
    """
    readable = [item.preference for item in meetings if item.preference is not None]
    if readable and len(readable) / len(meetings) >= min_readable:
        return fmean(readable)
    unread = [item.comparison for item in meetings if item.preference is None]
    if not unread:
        return Unscored(UnscoredReason.TOO_FEW_READABLE, "no other answer to compare it with")
    reasons = {item.unscored for item in unread}
    # One reason for all of them says more than that they are too many.
    reason = reasons.pop() if len(reasons) == 1 and not readable else "too_few_readable"
    return Unscored(UnscoredReason(reason), "\n\n".join("\n".join(item.raw) for item in unread))


class Tournament(Judge):
    """Has an arbiter compare the answers to each prompt two by two, in both orders."""

    def __init__(self, arbiter: Arbiter, settings: TournamentSettings) -> None:
        self.arbiter, self.settings = arbiter, settings
        self._counts: Counter[str] = Counter({"comparisons": 0, "flipped": 0, "unread": 0})

    @property
    def identity(self) -> Mapping[str, object]:
        settings = self.settings
        return {
            "judge": "pairwise",
            "comparisons": settings.comparisons,
            "min_readable": settings.min_readable,
            "low": settings.low,
            "high": settings.high,
            **dict(self.arbiter.identity),
        }

    @property
    def by_prompt(self) -> bool:
        return True

    @property
    def part_rows(self) -> int:
        return self.arbiter.part_pairs

    @property
    def counts(self) -> Mapping[str, float]:
        """Comparisons made, those whose two orders named different winners, and those unread."""
        return dict(self._counts)

    def judge(
        self, prompts: Sequence[Prompt], candidates: Sequence[Candidate], policy: Policy
    ) -> Iterator[Judgment]:
        prompt_texts(prompts, candidates)
        duels = [
            (group[one], group[other])
            for group in grouped_by_prompt(candidates).values()
            for one, other in meetings(len(group), self.settings.comparisons)
        ]
        made = list(self.arbiter.compare(prompts, duels, policy))
        self._counts["comparisons"] += len(made)
        self._counts["flipped"] += sum(item.flipped for item in made)
        self._counts["unread"] += sum(item.preference is None for item in made)
        met = met_by_answer(made)
        for candidate in candidates:
            mine = met.get(candidate.id, [])
            yield judgment(
                candidate,
                policy.fingerprint,
                self._verdict(mean_preference(mine, self.settings.min_readable)),
                raw=tuple(map(str, mine)),
            )

    def close(self) -> None:
        self.arbiter.close()

    def _verdict(self, outcome: float | Unscored) -> Verdict:
        if isinstance(outcome, Unscored):
            return outcome
        low, high = self.settings.low, self.settings.high
        return Scored(low + (high - low) * outcome)
