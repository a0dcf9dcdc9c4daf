"""What people's labels make of the run's win rates, from records that are planted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import cast

import pytest

from iterdpo.evaluation.summary import ModelSummary, Summary
from iterdpo.records import Candidate, Comparison, FinishReason
from iterdpo.runs.corrections import CorrectedComparison
from iterdpo.runs.directory import Run
from iterdpo.tools.label.annotations import read_annotations
from iterdpo.tools.label.correction import corrections_of
from iterdpo.tools.label.result import result_of
from iterdpo.tools.label.show import lines_of
from iterdpo.tools.label.task import LabelTask, Question, Side, make_task
from tests import summaries
from tests.narrowing import bounds, present
from tests.tools.label.questions import exported


def answer(model: str, number: int, text: str) -> Candidate:
    return Candidate(
        id=f"{model}-{number}", prompt_id=f"p{number}", index=0, text=text,
        prompt_token_ids=(1,), token_ids=(1,), logprobs=(-1.0,), seed=0, policy="ab",
        finish_reason=FinishReason.STOP,
    )  # fmt: skip


def outcome(number: int, preference: float | None, turned: bool = False) -> Comparison:
    sides = (f"M0-{number}", f"M1-{number}") if turned else (f"M1-{number}", f"M0-{number}")
    value = preference if preference is None or not turned else 1 - preference
    return Comparison(f"c{number}", f"p{number}", *sides, "initial", value, value)


@dataclass
class PlantedRun:
    """As much of a run as is read: 60 prompts, of the last 10 both answers are the same text."""

    comparisons: Sequence[Comparison]
    turned: bool = False
    summary: Summary = field(init=False)

    def __post_init__(self) -> None:
        names = ("M0", "M1") if self.turned else ("M1", "M0")
        self.summary = summaries.summary(
            [replace(summaries.model(n), name=f"M{n}") for n in (0, 1)],
            comparisons=(summaries.comparison(*names),),
        )

    @property
    def models(self) -> Sequence[ModelSummary]:
        return self.summary.models

    def records(self, stage: str, kind: type) -> Sequence[object]:
        if kind is Comparison:
            return self.comparisons
        return [
            answer(name, n, "same" if n >= 50 else name) for name in ("M0", "M1") for n in range(60)
        ]


def task() -> LabelTask:
    questions = [
        Question(
            f"p{n}", "Do.",
            Side("M1", f"M1-{n}", "same" if n >= 50 else "M1"),
            Side("M0", f"M0-{n}", "same" if n >= 50 else f"M0 {n}"),
        )
        for n in range(60)
    ]  # fmt: skip
    return make_task("models", "run", ("M1", "M0"), questions, 50, 0)


def found(
    tmp_path: Path, run: PlantedRun, *people: dict[str, float | None]
) -> list[CorrectedComparison]:
    files = []
    for number, chosen in enumerate(people):
        files.append(tmp_path / f"{number}.json")
        files[-1].write_text(json.dumps(exported(task(), f"ann{number}", chosen)))
    return list(corrections_of(cast("Run", run), task(), read_annotations(files)))


def people(wins: int, losses: int) -> dict[str, float | None]:
    return {f"M1-{n}": float(n < wins) for n in range(wins + losses)}


@pytest.mark.parametrize("turned", [False, True])
def test_the_correction_of_written_out_labels(tmp_path: Path, turned: bool) -> None:
    # Of 40 labels 20 are wins, of which the judge sees 16, and 20 losses, of which it sees 14. Of
    # the 50 comparisons of different texts 16 + 6 + 10 are judged wins; the other 10 count as ties.
    judged = [1.0] * 16 + [0.0] * 4 + [0.0] * 14 + [1.0] * 6 + [1.0] * 10 + [0.5] * 10
    run = PlantedRun([outcome(n, value, turned) for n, value in enumerate(judged)], turned)
    (item,) = found(tmp_path, run, people(20, 20))
    assert (item.model, item.opponent, item.judge) == ("M1", "M0", "initial")
    assert item.stage == run.summary.comparisons[0].stage
    made = item.correction
    assert (made.sensitivity.mean, made.specificity.mean) == pytest.approx((0.8, 0.7))
    assert made.judged.mean == pytest.approx((32 + 5) / 60)
    different = (32 / 50 + 0.7 - 1) / (0.7 + 0.8 - 1)
    assert present(made.corrected).mean == pytest.approx(different * 5 / 6 + 1 / 12)
    low, high = bounds(made.corrected)
    assert 1 / 12 <= low < 0.65 < high <= 11 / 12 + 1e-9
    said = list(lines_of(result_of(task(), []) | {"corrected": [asdict(item)]}))
    assert said[-2].startswith("win rate of M1 against M0 by initial: 61.7 % (")
    assert "; without its errors: 65.0 % (" in said[-2]
    assert said[-1].startswith("  its sensitivity 80.0 % (")


def test_several_people_count_as_their_mean_and_what_was_not_read_is_left_out(
    tmp_path: Path,
) -> None:
    judged: list[float | None] = [1.0] * 20 + [0.0] * 20 + [None] * 20
    run = PlantedRun([outcome(n, value) for n, value in enumerate(judged)])
    one, other = people(20, 20), people(20, 20) | {"M1-0": 0.0}
    (item,) = found(tmp_path, run, one, other)
    # 19 wins and one that two people do not agree on: 19.5 judged wins of 19.5.
    assert item.correction.sensitivity.mean == pytest.approx(1.0)
    assert item.correction.specificity.mean == pytest.approx(20 / 20.5)
    assert item.correction.sensitivity.n == 40


def test_labels_of_other_answers_correct_nothing(tmp_path: Path) -> None:
    run = PlantedRun([outcome(n + 100, 1.0) for n in range(5)])
    assert found(tmp_path, run, people(20, 20)) == []
