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
from pathlib import Path
from statistics import fmean
from typing import Any

from iterdpo.errors import UserError
from iterdpo.judging.base import Judge, judgment, prompt_texts
from iterdpo.records import (
    Candidate,
    Judgment,
    Policy,
    Prompt,
    Scored,
    Unscored,
    UnscoredReason,
    Verdict,
    judge_fingerprint,
    record_id,
)

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


class HumanJudge(Judge):
    """Scores candidates by people's comparisons; no model is asked."""

    def __init__(self, path: Path, low: float = 0.0, high: float = 5.0) -> None:
        """Read a labels file.

        Args:
            path: JSON lines as the import of ``iterdpo.label`` writes them.
            low: score of a candidate that lost every comparison.
            high: score of one that won every comparison.

        Raises:
            UserError: the file cannot be read, or a line is no comparison.
            ValueError: the range is empty.
        """
        if not low < high:
            raise ValueError(f"low={low} must be below high={high}")
        self.path, self.low, self.high = path, low, high
        raw = _content(path)
        self.sha256 = record_id("labels", (), 0, raw)
        self.labels = tuple(_labels(path, raw))
        self._preferences = preferences(self.labels)

    @property
    def identity(self) -> Mapping[str, object]:
        """The content of the file, not its name, and the range."""
        return {"judge": "human", "labels": self.sha256, "low": self.low, "high": self.high}

    @property
    def fingerprint(self) -> str:
        """What judgments name as their judge, where a policy's fingerprint stands otherwise."""
        return judge_fingerprint(self.identity)

    def judge(
        self, prompts: Sequence[Prompt], candidates: Sequence[Candidate], policy: Policy
    ) -> Iterator[Judgment]:
        prompt_texts(prompts, candidates)
        judge = self.fingerprint
        for candidate in candidates:
            said = self._preferences.get(candidate.id, {})
            values = [value for group in said.values() for value in group]
            raw = tuple(
                f"{value:g} against {other}" for other, group in said.items() for value in group
            )
            verdict = verdict_of(values, self.low, self.high)
            yield judgment(candidate, judge, verdict, raw=raw)


def verdict_of(values: Sequence[float], low: float, high: float) -> Verdict:
    """Return low + (high - low) · mean of ``values``, or ``Unscored`` where there are none."""
    if not values:
        return Unscored(UnscoredReason.NOT_COMPARED)
    return Scored(low + (high - low) * fmean(values))


def preferences(labels: Iterable[Label]) -> dict[str, dict[str, list[float]]]:
    """Return each candidate's preferences in [0, 1], by the candidate that it was compared with."""
    found: defaultdict[str, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for label in labels:
        found[label.first][label.second].append(label.preference)
        found[label.second][label.first].append(1.0 - label.preference)
    return {candidate: dict(others) for candidate, others in found.items()}


def _content(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        raise UserError(f"judge.labels={path}: no such file; {REMEDY}") from None
    except OSError as error:
        raise UserError(f"judge.labels={path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise UserError(f"judge.labels={path}: is not UTF-8; {REMEDY}") from None


def _labels(path: Path, raw: str) -> Iterator[Label]:
    seen: dict[tuple[str, frozenset[str]], int] = {}
    for number, line in enumerate(raw.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            label = _label(json.loads(line))
        except (ValueError, RecursionError) as error:
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
