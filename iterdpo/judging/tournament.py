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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from statistics import fmean
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from iterdpo.config.types import Share
from iterdpo.engines.base import Engine
from iterdpo.judging.base import Group, Judge, answers_of, judgment
from iterdpo.judging.pairwise import PairwiseJudge
from iterdpo.judging.pairwise_rubrics import PairwiseRubric
from iterdpo.judging.rubrics import scale_problems
from iterdpo.records import (
    Comparison,
    Judgment,
    Policy,
    Scored,
    Unscored,
    UnscoredReason,
    Verdict,
)
from iterdpo.settings import Keyless, Provided


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


@dataclass(frozen=True, kw_only=True)
class Tournament(Judge):
    """Has a policy compare the answers to each prompt two by two, in both orders."""

    name: ClassVar[str] = "pairwise"
    version: ClassVar[int] = 1
    asks_policy: ClassVar[bool] = True

    model: Annotated[
        Literal["current", "initial"],
        Keyless("enters as the judge's own key: nothing differs before M2"),
    ]
    """``current``: the policy of the iteration compares its own answers. ``initial``: always M0."""
    rubric: Annotated[str, Keyless("counts by its text")]
    """``better``, or a path to a Jinja file."""
    comparisons: Literal["all"] | Annotated[int, Field(ge=2)]
    """How many others each answer meets: all of its prompt's, or about so many, shared out
    evenly."""
    min_readable: Share
    """With a smaller readable share of its comparisons, an answer is unscored."""
    min_mass: Share
    """With less probability on the two choices, a comparison is not read."""
    low: int
    """The score of an answer that loses every comparison with certainty."""
    high: int
    """The score of one that wins them all."""
    system: str | None
    """System message put before every request."""

    engine: Provided[Engine]

    def __post_init__(self) -> None:
        if problems := scale_problems(self.low, self.high):
            raise ValueError("\n".join(problems))

    @property
    def content(self) -> Mapping[str, object]:
        return {"rubric": self.arbiter.rubric.sha256, "engine": dict(self.engine.identity)}

    @property
    def by_prompt(self) -> bool:
        return True

    @property
    def shard_rows(self) -> int:
        return self.arbiter.shard_pairs

    @property
    def counts(self) -> Mapping[str, float]:
        """Comparisons made, those whose two orders named different winners, and those unread."""
        return dict(self._counts)

    @property
    def scale(self) -> tuple[float, float]:
        return float(self.low), float(self.high)

    @property
    def judged_by(self) -> Literal["current", "initial"]:
        return self.model

    def judge(self, groups: Iterable[Group], policy: Policy) -> Iterator[Judgment]:
        groups = list(groups)
        duels = [
            (group.candidates[one], group.candidates[other])
            for group in groups
            for one, other in meetings(len(group.candidates), self.comparisons)
        ]
        made = list(self.arbiter.compare([group.prompt for group in groups], duels, policy))
        self._counts["comparisons"] += len(made)
        self._counts["flipped"] += sum(item.flipped for item in made)
        self._counts["unread"] += sum(item.preference is None for item in made)
        met = met_by_answer(made)
        for _, candidate in answers_of(groups):
            mine = met.get(candidate.id, [])
            yield judgment(
                candidate,
                policy.fingerprint,
                self._verdict(mean_preference(mine, self.min_readable)),
                raw=tuple(map(str, mine)),
            )

    @cached_property
    def arbiter(self) -> PairwiseJudge:
        """What compares two answers."""
        return PairwiseJudge(
            self.engine,
            PairwiseRubric.load(self.rubric, "judge.rubric"),
            name="policy",
            min_mass=self.min_mass,
            system=self.system,
        )

    @cached_property
    def _counts(self) -> Counter[str]:
        return Counter({"comparisons": 0, "flipped": 0, "unread": 0})

    def _verdict(self, outcome: float | Unscored) -> Verdict:
        if isinstance(outcome, Unscored):
            return outcome
        return Scored(self.low + (self.high - self.low) * outcome)
