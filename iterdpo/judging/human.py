"""People as judges: scores from comparisons that they made (``python -m iterdpo.label``).

A candidate's score is the mean preference for it over its comparisons, in the judge's range:

    s(y) = low + (high - low) · 1/n(y) · sum over its n(y) comparisons of p(y)

with p(y) = 1 where y was preferred, 1/2 for a tie and 0 where the other one was: the share of its
comparisons that it won, ties counted half. One comparison of two candidates so becomes one pair, a
tie becomes none, and a candidate that nobody compared stays unscored.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any, ClassVar

from iterdpo.config.types import Place
from iterdpo.data.content import json_value, text_file
from iterdpo.errors import UserError
from iterdpo.judging.base import Group, Judge, answers_of, judgment
from iterdpo.judging.rubrics import scale_problems
from iterdpo.records import (
    Judgment,
    Policy,
    Scored,
    Unscored,
    UnscoredReason,
    Verdict,
    record_id,
)
from iterdpo.settings import Keyless

Preferences = dict[str, dict[str, list[float]]]
"""By candidate, and by the one that it was compared with, the preferences for it, in [0, 1]."""

REMEDY = "write it again with python -m iterdpo.label RUN --import FILE"


@dataclass(frozen=True, slots=True)
class Label:
    """One comparison by one person: a line of a labels file."""

    first: str
    """A candidate's id."""
    second: str
    preference: float
    """For the first candidate, in [0, 1]: 1 it is better, 1/2 a tie, 0 the second is better."""
    annotator: str


@dataclass(frozen=True, kw_only=True)
class HumanJudge(Judge):
    """Scores candidates by people's comparisons; no model is asked."""

    name: ClassVar[str] = "human"
    version: ClassVar[int] = 1

    labels: Annotated[Place, Keyless("counts by the file's content")]
    """People's comparisons, as ``python -m iterdpo.label`` writes them."""
    low: int
    """The score of an answer that lost every comparison."""
    high: int
    """The score of one that won every comparison."""

    def __post_init__(self) -> None:
        if problems := scale_problems(self.low, self.high):
            raise ValueError("\n".join(problems))

    @property
    def content(self) -> Mapping[str, object]:
        return {"labels": self._read[0]}

    @property
    def scale(self) -> tuple[float, float]:
        return float(self.low), float(self.high)

    def judge(self, groups: Iterable[Group], policy: Policy) -> Iterator[Judgment]:
        judge, (_, preferred) = self.fingerprint, self._read
        for _, candidate in answers_of(groups):
            said = preferred.get(candidate.id, {})
            values = [value for group in said.values() for value in group]
            raw = tuple(
                f"{value:g} against {other}" for other, group in said.items() for value in group
            )
            verdict = verdict_of(values, self.low, self.high)
            yield judgment(candidate, judge, verdict, raw=raw)

    @cached_property
    def _read(self) -> tuple[str, Preferences]:
        """The hash of the file's text, and what it says."""
        raw = text_file(self.labels, f"judge.labels={self.labels}")
        return record_id("labels", (), 0, raw), preferences(_labels(self.labels, raw))


def verdict_of(values: Sequence[float], low: float, high: float) -> Verdict:
    """Return low + (high - low) · mean of ``values``, or ``Unscored`` where there are none."""
    if not values:
        return Unscored(UnscoredReason.NOT_COMPARED)
    return Scored(low + (high - low) * fmean(values))


def preferences(labels: Iterable[Label]) -> Preferences:
    """Return the preferences for each candidate."""
    found: defaultdict[str, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for label in labels:
        found[label.first][label.second].append(label.preference)
        found[label.second][label.first].append(1.0 - label.preference)
    return {candidate: dict(others) for candidate, others in found.items()}


def _labels(path: Path, raw: str) -> Iterator[Label]:
    seen: dict[tuple[str, frozenset[str]], int] = {}
    for number, line in enumerate(raw.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            label = _label(json_value(line))
        except ValueError as error:
            said = "is not JSON" if isinstance(error, json.JSONDecodeError) else error
            raise UserError(f"judge.labels={path}: line {number} {said}; {REMEDY}") from None
        key = label.annotator, frozenset((label.first, label.second))
        if key in seen:
            raise UserError(
                f"judge.labels={path}: line {number}: {label.annotator!r} compared these two in "
                f"line {seen[key]} already; keep one of the lines"
            )
        seen[key] = number
        yield label
    if not seen:
        raise UserError(f"judge.labels={path}: holds no comparison; {REMEDY}")


def _label(value: Any) -> Label:
    if not isinstance(value, dict):
        raise ValueError("is no object")
    for name in ("first", "second", "annotator"):
        if not (isinstance(value.get(name), str) and value[name]):
            raise ValueError(f"has no text {name!r}")
    preference = value.get("preference")
    if isinstance(preference, bool) or not isinstance(preference, int | float):
        raise ValueError("has no number 'preference'")
    if not 0 <= preference <= 1:
        raise ValueError(f"has preference {preference}, which is not in [0, 1]")
    if value["first"] == value["second"]:
        raise ValueError("compares a candidate with itself")
    return Label(value["first"], value["second"], float(preference), value["annotator"])
