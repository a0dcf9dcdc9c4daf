"""Models against each other: win rates with intervals, and ratings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from iterdpo.evaluation.head_to_head import HeadToHead
from iterdpo.evaluation.length_control import NOT_ESTIMABLE
from iterdpo.evaluation.statistics import Estimate
from iterdpo.evaluation.summary import ComparisonSummary
from iterdpo.runs.corrections import CorrectedComparison, read_corrections
from iterdpo.runs.directory import Run
from iterdpo.runtime.formatting import DASH, count, percent, percent_interval
from iterdpo.tools.report import charts
from iterdpo.tools.report.document import Cell, Part, Section, Table
from iterdpo.tools.report.sections.cells import share_cell

DETAILS = (
    "Length-controlled: the win rate if both answers were of one length; not estimable where one "
    "of the two writes the longer answer in less than a quarter of the comparisons. Order flips: "
    "the judge prefers the other answer when their order is turned around. Prompts needed: to see "
    "a difference of this size with 80 % power at 5 %."
)
BASELINES = (
    "The model's answers against what M0 writes without learning anything: its answers at a lower "
    "temperature against the model's sampled ones, and the greedy answers of both. A model that "
    "wins against M0 and not here became surer of itself, and no better."
)


def versus(run: Run) -> Section | None:
    """Return the section on head-to-head comparisons, if there were any."""
    summary = run.summary
    if not summary.comparisons:
        return None
    parts: list[Part] = []
    for judge in dict.fromkeys(item.judge for item in summary.comparisons):
        of_judge = [item for item in summary.comparisons if item.judge == judge]
        parts += [_matrix(of_judge, judge)]
        parts += [_details(of_judge, f"Every comparison, judged by {_who(judge)}", DETAILS)]
    if summary.against_baselines:
        title = f"More than sharpening? Judged by {_who(summary.against_baselines[0].judge)}"
        parts += [_details(summary.against_baselines, title, BASELINES)]
    if corrections := read_corrections(run):
        parts += [_corrected(corrections)]
    return Section("versus", "Head to head", [*_ratings(run), *parts])


def _ratings(run: Run) -> Iterator[Part]:
    rows = [
        {"model": item.model, "mean": item.rating, "low": item.low, "high": item.high}
        for item in run.summary.ratings
    ]
    if rows:
        yield charts.intervals(
            "ratings", "Ratings",
            "Bradley–Terry strengths of all comparisons in Elo's points, M0 at 0: 100 points more "
            "win 64 % of the time. Bars are 95 % intervals over prompts.",
            rows, x="model", y="mean", x_title="", y_title="rating (points)",
        )  # fmt: skip


def _matrix(found: Sequence[ComparisonSummary], judge: str) -> Table:
    names = sorted({name for item in found for name in (item.model, item.opponent)}, key=_age)
    rates = {(item.model, item.opponent): item.result.win_rate for item in found}
    rows: list[list[str | Cell]] = []
    for one in names:
        row: list[str | Cell] = [one]
        for other in names:
            rate = rates.get((one, other)) or _turned(rates.get((other, one)))
            row.append(_rate(rate) if rate else DASH)
        rows.append(row)
    return Table(
        f"Win rates, judged by {_who(judge)}",
        ["", *(f"against {name}" for name in names)],
        rows,
        "How often the row's model beats the column's, ties counting one half, with the 95 % "
        "interval over prompts. Blue wins, orange loses; strong color where 50 % lies outside the "
        "interval.",
    )


def _details(found: Sequence[ComparisonSummary], title: str, caption: str) -> Table:
    return Table(
        title,
        ["", "wins", "ties", "losses", "win rate", "length-controlled", "order flips", "unscored",
         "prompts", "prompts needed"],
        [
            [
                f"{item.model} – {item.opponent_name}",
                *(count(part) for part in (item.result.wins, item.result.ties, item.result.losses)),
                share_cell(item.result.win_rate),
                _length_controlled(item.result),
                count(item.result.flips),
                count(item.result.unscored),
                count(item.result.prompts),
                count(item.result.prompts_needed),
            ]
            for item in found
        ],
        caption,
    )  # fmt: skip


def _corrected(found: Sequence[CorrectedComparison]) -> Table:
    return Table(
        "Corrected by people's labels",
        ["", "judge", "labels", "sensitivity", "specificity", "win rate by the judge", "corrected"],
        [
            [
                f"{item.model} – {item.opponent}",
                _who(item.judge),
                count(item.correction.sensitivity.n),
                share_cell(item.correction.sensitivity),
                share_cell(item.correction.specificity),
                share_cell(item.correction.judged),
                share_cell(item.correction.corrected) if item.correction.corrected
                else Cell(NOT_ESTIMABLE, note="no better than chance"),
            ]
            for item in found
        ],
        "What people said of some of the comparisons (iterdpo label) tells how often the judge "
        "errs. Sensitivity: its mean outcome where people prefer the model; specificity: one minus "
        "that where they prefer the opponent. Corrected: the win rate that people would have found "
        "over all comparisons; its interval counts the errors of both samples.",
    )  # fmt: skip


def _length_controlled(found: HeadToHead) -> Cell | str:
    if found.win_rate and not found.length_controlled:
        return Cell(NOT_ESTIMABLE, note="lengths do not overlap")
    return share_cell(found.length_controlled)


def _rate(rate: Estimate) -> Cell:
    low, high = rate.low, rate.high
    clear = low is not None and high is not None and (low > 0.5 or high < 0.5)
    side = "wins" if rate.mean > 0.5 else "loses" if rate.mean < 0.5 else ""
    mark = f"{side}{'-clearly' if clear else ''}" if side else ""
    return Cell(percent(rate.mean), mark, percent_interval((low, high)))


def _turned(rate: Estimate | None) -> Estimate | None:
    """Return the win rate of the other side."""
    if rate is None:
        return None
    low, high = (None if end is None else 1 - end for end in (rate.high, rate.low))
    return replace(rate, mean=1 - rate.mean, low=low, high=high)


def _age(name: str) -> tuple[int, str]:
    digits = name.lstrip("M")
    return (int(digits) if digits.isdigit() else 10**9, name)


def _who(judge: str) -> str:
    return {"oracle": "the oracle", "initial": "M0"}.get(judge, judge)
