"""Models against each other: win rates with intervals, and ratings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from iterdpo.runs.directory import Run
from iterdpo.tools.report import charts
from iterdpo.tools.report.document import Cell, Part, Section, Table
from iterdpo.tools.report.formatting import DASH, interval, percent

Comparison = Mapping[str, Any]
DETAILS = (
    "Length-controlled: the win rate if both answers were of one length. Order flips: the judge "
    "prefers the other answer when their order is turned around. Prompts needed: to see a "
    "difference of this size with 80 % power at 5 %."
)
CONTROLS = (
    "The model's answers against what M0 writes without learning anything: its answers at a lower "
    "temperature against the model's sampled ones, and the greedy answers of both. A model that "
    "wins against M0 and not here became surer of itself, and no better."
)


def versus(run: Run) -> Section | None:
    """Return the section on head-to-head comparisons, if there were any."""
    found: Sequence[Comparison] = run.summary.get("comparisons") or ()
    if not found:
        return None
    parts: list[Part] = []
    for judge in dict.fromkeys(item["judge"] for item in found):
        of_judge = [item for item in found if item["judge"] == judge]
        parts += [_matrix(of_judge, judge)]
        parts += [_details(of_judge, f"Every comparison, judged by {_who(judge)}", DETAILS)]
    if controlled := run.summary.get("against_controls"):
        named = [
            {**item, "opponent": f"{item['opponent']}, {item['control']}"} for item in controlled
        ]
        who = _who(controlled[0]["judge"])
        parts += [_details(named, f"More than sharpening? Judged by {who}", CONTROLS)]
    return Section("versus", "Head to head", [*_ratings(run), *parts])


def _ratings(run: Run) -> Iterator[Part]:
    rows = [
        {"model": item["model"], "mean": item["rating"], "low": item["low"], "high": item["high"]}
        for item in run.summary.get("ratings") or ()
    ]
    if rows:
        yield charts.intervals(
            "ratings", "Ratings",
            "Bradley–Terry strengths of all comparisons in Elo's points, M0 at 0: 100 points more "
            "win 64 % of the time. Bars are 95 % intervals over prompts.",
            rows, x="model", y="mean", x_title="", y_title="rating (points)",
        )  # fmt: skip


def _matrix(found: Sequence[Comparison], judge: str) -> Table:
    names = sorted({name for item in found for name in (item["model"], item["opponent"])}, key=_age)
    rates = {(item["model"], item["opponent"]): item["win_rate"] for item in found}
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


def _details(found: Sequence[Comparison], title: str, caption: str) -> Table:
    return Table(
        title,
        ["", "wins", "ties", "losses", "win rate", "length-controlled", "order flips", "unscored",
         "prompts", "prompts needed"],
        [
            [
                f"{item['model']} – {item['opponent']}",
                *(f"{item[key]:,}" for key in ("wins", "ties", "losses")),
                _estimated(item["win_rate"]),
                _estimated(item.get("length_controlled")),
                DASH if item["flips"] is None else f"{item['flips']:,}",
                f"{item['unscored']:,}",
                f"{item['prompts']:,}",
                DASH if item.get("prompts_needed") is None else f"{item['prompts_needed']:,}",
            ]
            for item in found
        ],
        caption,
    )  # fmt: skip


def _rate(rate: Mapping[str, Any]) -> Cell:
    low, high = rate["low"], rate["high"]
    clear = low is not None and high is not None and (low > 0.5 or high < 0.5)
    side = "wins" if rate["mean"] > 0.5 else "loses" if rate["mean"] < 0.5 else ""
    mark = f"{side}{'-clearly' if clear else ''}" if side else ""
    return Cell(percent(rate["mean"]), mark, _span(low, high))


def _estimated(value: Mapping[str, Any] | None) -> str | Cell:
    return Cell(percent(value["mean"]), note=_span(value["low"], value["high"])) if value else DASH


def _span(low: float | None, high: float | None) -> str:
    both = low is not None and high is not None
    return f"{interval(100 * low, 100 * high, 0)} %" if both else ""  # type: ignore[operator]


def _turned(rate: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    if rate is None:
        return None
    low, high = rate["low"], rate["high"]
    return {
        **rate,
        "mean": 1 - rate["mean"],
        "low": None if high is None else 1 - high,
        "high": None if low is None else 1 - low,
    }


def _age(name: str) -> tuple[int, str]:
    digits = name.lstrip("M")
    return (int(digits) if digits.isdigit() else 10**9, name)


def _who(judge: str) -> str:
    return {"oracle": "the oracle", "initial": "M0"}.get(judge, judge)
