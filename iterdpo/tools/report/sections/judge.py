"""How well each model judges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from iterdpo.runs.directory import Run
from iterdpo.tools.report import charts
from iterdpo.tools.report.document import Cell, Chart, Part, Section, Table, Text
from iterdpo.tools.report.formatting import DASH, interval, number, percent, percent_interval

MEASURES = (
    ("pairwise_accuracy", "pairwise accuracy"), ("five_best", "5-best"),
    ("exact_match", "exact match"), ("spearman", "Spearman ρ"), ("kendall_tau", "Kendall τ-b"),
)  # fmt: skip
SETS = (("fixed_set", "fixed set"), ("own_answers", "own answers"))


def judge(run: Run) -> Section:
    """Return the section on the models as judges."""
    rows = [*_accuracies(run)]
    if not rows:
        return Section("judge", "Judge", [*_table(run)])
    parts: list[Part] = [
        charts.intervals(
            "judge", "Pairs of answers put in the right order",
            "Share of pairs with different gold scores that the judge orders as the oracle does. "
            "The fixed set is M0's answers, the same for every judge; on its own answers a judge "
            "looks worse as the model improves, because the differences that are left are smaller. "
            "Dashed: chance. Bars are 95 % intervals, clustered by prompt.",
            rows, x="model", y="mean", x_title="", y_title="pairwise accuracy", series="on",
            reference=0.5,
        ),
        *_table(run),
    ]  # fmt: skip
    if chart := _calibration(run):
        parts.append(chart)
    return Section("judge", "Judge", parts)


def _accuracies(run: Run) -> Iterator[dict[str, Any]]:
    for model in run.models:
        for key, name in SETS:
            found = model["judge"].get(key) or {}
            low, high = _ends(found, "pairwise_accuracy")
            if (accuracy := found.get("pairwise_accuracy")) is not None:
                yield {"model": model["name"], "on": name, "mean": accuracy,
                       "low": low, "high": high}  # fmt: skip


def _table(run: Run) -> Iterator[Part]:
    judges = [model["judge"] for model in run.models]
    rows: list[list[str | Cell]] = [
        [f"{name}, {on}", *(_cell(judge.get(key) or {}, measure, 3) for judge in judges)]
        for key, on in SETS
        for measure, name in MEASURES
    ]
    rows += [
        ["readable judgments", *map(_readable, judges)],
        ["score of its own answers", *map(_of_itself, run.models)],
        ["score with length (ρ)",
         *(_cell(judge, "length_correlation", 2, sign=True) for judge in judges)],
        ["with the judge before (τ)",
         *(_cell(judge, "agreement_with_previous", 2) for judge in judges)],
    ]  # fmt: skip
    yield Table(
        "The models as judges",
        ["", *(model["name"] for model in run.models)],
        [row for row in rows if any(_text(cell) != DASH for cell in row[1:])],
        "Pairwise: pairs ordered rightly. 5-best: of answers given the top score, the share that "
        "are the prompt's best. Exact: prompts whose whole order is right. ρ and τ-b: mean rank "
        "correlation with the oracle within a prompt. As in arXiv 2401.10020, table 4. With "
        "length: Spearman correlation of scores with tokens, on own answers. With the judge "
        "before: mean τ-b on the fixed set. With 95 % intervals, clustered by prompt. What was not "
        "measured is left out.",
    )
    if not any(_measured(model) for model in run.models):
        yield Text("Without gold scores, agreement with the truth cannot be measured.", "quiet")


def _ends(found: Mapping[str, Any], measure: str) -> tuple[float | None, float | None]:
    """Return a measure's interval; runs of earlier versions have none."""
    low, high = (found.get("ci95") or {}).get(measure) or (None, None)
    return low, high


def _cell(found: Mapping[str, Any], measure: str, digits: int, sign: bool = False) -> Cell:
    return Cell(
        number(found.get(measure), digits, sign),
        note=interval(*_ends(found, measure), digits, sign),
    )


def _readable(judge: Mapping[str, Any]) -> Cell:
    span = percent_interval(_ends(judge, "parse_rate"), 1)
    return Cell(percent(judge.get("parse_rate"), 1), note=span)


def _of_itself(model: Mapping[str, Any]) -> Cell:
    low, high = model.get("judged_mean_ci95") or (None, None)
    return Cell(number(model["judged_mean"]), note=interval(low, high))


def _text(cell: str | Cell) -> str:
    return cell.text if isinstance(cell, Cell) else cell


def _measured(model: Mapping[str, Any]) -> bool:
    return any((model["judge"].get(key) or {}).get("pairwise_accuracy") for key, _ in SETS)


def _calibration(run: Run) -> Chart | None:
    rows = [
        {"model": model["name"], "judged": bin_["judged"], "gold": bin_["gold"], "n": bin_["n"]}
        for model in run.models
        for bin_ in (model["judge"].get("fixed_set") or {}).get("calibration") or ()
        if bin_["n"]
    ]
    if not rows:
        return None
    return charts.curves(
        "calibration", "What a score is worth",
        "Mean gold score of the fixed set's answers, in bins of the judge's score: a judge whose "
        "points mean what they say lies on the dashed diagonal. Bins with few answers scatter; "
        "their numbers are in the data.",
        rows, x="judged", y="gold", x_title="judge's score", y_title="gold score", series="model",
        height=charts.HEIGHT, diagonal=True,
    )  # fmt: skip
