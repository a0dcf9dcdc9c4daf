"""How well each model judges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from iterdpo.report import charts
from iterdpo.report.document import Chart, Part, Section, Table, Text
from iterdpo.report.figures import DASH, number, percent
from iterdpo.runs import Run

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
            "Dashed: chance. No interval is computed for these shares.",
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
            accuracy = (model["judge"].get(key) or {}).get("pairwise_accuracy")
            if accuracy is not None:
                yield {"model": model["name"], "on": name, "mean": accuracy,
                       "low": None, "high": None}  # fmt: skip


def _table(run: Run) -> Iterator[Part]:
    rows = [
        [f"{name}, {on}", *(number((model["judge"].get(key) or {}).get(measure), 3)
                            for model in run.models)]
        for key, on in SETS
        for measure, name in MEASURES
    ]  # fmt: skip
    rows += [
        ["readable judgments", *(percent(m["judge"].get("parse_rate"), 1) for m in run.models)],
        ["score of its own answers", *(number(m["judged_mean"]) for m in run.models)],
        ["score with length (ρ)",
         *(number(m["judge"].get("length_correlation"), 2, sign=True) for m in run.models)],
        ["with the judge before (τ)",
         *(number(m["judge"].get("agreement_with_previous"), 2) for m in run.models)],
    ]  # fmt: skip
    yield Table(
        "The models as judges",
        ["", *(model["name"] for model in run.models)],
        [row for row in rows if any(cell != DASH for cell in row[1:])],
        "Pairwise: pairs ordered rightly. 5-best: of answers given the top score, the share that "
        "are the prompt's best. Exact: prompts whose whole order is right. ρ and τ-b: mean rank "
        "correlation with the oracle within a prompt. As in arXiv 2401.10020, table 4. With "
        "length: Spearman correlation of scores with tokens, on own answers. With the judge "
        "before: mean τ-b on the fixed set. What was not measured is left out.",
    )
    if not any(_measured(model) for model in run.models):
        yield Text("Without gold scores, agreement with the truth cannot be measured.", "quiet")


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
