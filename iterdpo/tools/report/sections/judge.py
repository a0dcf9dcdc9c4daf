"""How well each model judges."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from iterdpo.evaluation.report import Agreement, JudgeReport
from iterdpo.evaluation.statistics import ends
from iterdpo.evaluation.summary import ModelSummary
from iterdpo.runs.directory import Run
from iterdpo.runtime.formatting import DASH, percent, percent_interval
from iterdpo.tools.report import charts
from iterdpo.tools.report.document import Cell, Chart, Part, Row, Section, Table, Text
from iterdpo.tools.report.sections.cells import value_cell

MEASURES = (
    ("pairwise_accuracy", "pairwise accuracy"), ("five_best", "5-best"),
    ("exact_match", "exact match"), ("spearman", "Spearman ρ"), ("kendall_tau", "Kendall τ-b"),
)  # fmt: skip
"""The fields of ``Agreement`` that are shown, each with an interval of the same name."""


def judge(run: Run) -> Section:
    """Return the section on the models as judges."""
    rows = [*_accuracies(run)]
    if not rows:
        return Section("judge", "Judge", [*_table(run)])
    parts: list[Part] = [
        charts.intervals(
            "judge", "Pairs of answers put in the right order",
            "Share of pairs with different gold scores that the judge orders as the oracle does. "
            "The reference set is M0's answers, the same for every judge; on its own answers a "
            "judge looks worse as the model improves, because the differences that are left are "
            "smaller. Dashed: chance. Bars are 95 % intervals, clustered by prompt.",
            rows, x="model", y="mean", x_title="", y_title="pairwise accuracy", series="on",
            reference=0.5,
        ),
        *_table(run),
    ]  # fmt: skip
    if chart := _calibration(run):
        parts.append(chart)
    return Section("judge", "Judge", parts)


def _sets(judge: JudgeReport) -> tuple[tuple[str, Agreement], ...]:
    return ("reference set", judge.reference_set), ("own answers", judge.own_answers)


def _accuracies(run: Run) -> Iterator[dict[str, Any]]:
    for model in run.models:
        for name, found in _sets(model.evaluation.judge):
            low, high = found.ci95.get("pairwise_accuracy", (None, None))
            if found.pairwise_accuracy is not None:
                yield {"model": model.name, "on": name, "mean": found.pairwise_accuracy,
                       "low": low, "high": high}  # fmt: skip


def _table(run: Run) -> Iterator[Part]:
    judges = [model.evaluation.judge for model in run.models]
    rows: list[list[str | Cell]] = []
    for sets in zip(*map(_sets, judges), strict=True):  # the same one of every judge
        for key, name in MEASURES:
            cells = [value_cell(getattr(own, key), own.ci95.get(key), 3) for _, own in sets]
            rows.append([f"{name}, {sets[0][0]}", *cells])
    rows += [
        ["readable judgments", *map(_readable, judges)],
        ["score of its own answers", *map(_of_itself, run.models)],
        ["score with length (ρ)", *map(_with_length, judges)],
        ["with the judge before (τ)", *map(_with_previous, run.models)],
    ]
    yield Table(
        "The models as judges",
        ["", *(model.name for model in run.models)],
        [row for row in rows if any(_text(cell) != DASH for cell in row[1:])],
        "Pairwise: pairs ordered rightly. 5-best: of answers given the top score, the share that "
        "are the prompt's best. Exact: prompts whose whole order is right. ρ and τ-b: mean rank "
        "correlation with the oracle within a prompt. As in arXiv 2401.10020, table 4. With "
        "length: Spearman correlation of scores with tokens, on own answers. With the judge "
        "before: mean τ-b on the reference set. With 95 % intervals, clustered by prompt. What was "
        "not measured is left out.",
    )
    if not any(found.pairwise_accuracy for judge in judges for _, found in _sets(judge)):
        yield Text("Without gold scores, agreement with the truth cannot be measured.", "quiet")


def _readable(judge: JudgeReport) -> Cell:
    span = percent_interval(judge.ci95.get("parse_rate"), 1)
    return Cell(percent(judge.parse_rate, 1), note=span)


def _of_itself(model: ModelSummary) -> Cell:
    return value_cell(model.evaluation.judged_mean, model.evaluation.judged_mean_ci95)


def _with_length(judge: JudgeReport) -> Cell:
    return value_cell(judge.length_correlation, judge.ci95.get("length_correlation"), 2, sign=True)


def _with_previous(model: ModelSummary) -> Cell:
    alike = model.agreement_with_previous
    return value_cell(alike.mean if alike else None, ends(alike) if alike else None)


def _text(cell: str | Cell) -> str:
    return cell.text if isinstance(cell, Cell) else cell


def _calibration(run: Run) -> Chart | None:
    rows: list[Row] = [
        {"model": model.name, "judged": item.judged, "gold": item.gold, "n": item.n}
        for model in run.models
        for item in model.evaluation.judge.reference_set.calibration
    ]
    if not rows:
        return None
    return charts.curves(
        "calibration", "What a score is worth",
        "Mean gold score of the reference set's answers, in bins of the judge's score: a judge "
        "whose points mean what they say lies on the dashed diagonal. Bins with few answers "
        "scatter; their numbers are in the data.",
        rows, x="judged", y="gold", x_title="judge's score", y_title="gold score", series="model",
        height=charts.HEIGHT, diagonal=True,
    )  # fmt: skip
