"""The results as the paper sets them out: models in rows, what was measured of them in columns.

Self-Rewarding Language Models (arXiv 2401.10020) has a table of win rates and answer lengths (its
table 1), one of head-to-head comparisons (figure 3) and one of the models as judges (table 4). Here
they are rendered as Markdown from a run's ``summary.json``, with intervals, which the paper's lack.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

DASH = "–"

Entry = Mapping[str, Any]


def markdown(summary: Entry) -> str:
    """Return every table that a summary has numbers for, a blank line between them."""
    tables = [
        answers_table(summary),
        head_to_head_table(summary),
        judges_table(summary),
        best_of_table(summary),
        controls_table(summary),
    ]
    best = summary["best"]
    if best:
        tables.append(f"Best: **{best['model']}**, {best['why']}.")
    return "\n\n".join(table for table in tables if table) + "\n"


def answers_table(summary: Entry) -> str:
    """Return the models as writers: quality, gain, win rate against M0, length."""
    best = summary["best"]["model"] if summary["best"] else None
    rows = []
    for model in summary["models"]:
        quality, gain = model["quality"], model["gain"] or {}
        against = comparison(summary, model["name"], summary["models"][0]["name"])
        name = f"**{model['name']}**" if model["name"] == best else model["name"]
        rows.append(
            [
                name,
                spread(quality["mean"], *quality["ci95"]) if quality else DASH,
                interval(gain.get("over_previous"), "+.2f"),
                interval(gain.get("over_initial"), "+.2f"),
                interval(gain.get("over_control"), "+.2f"),
                share(quality["perfect_share"]) if quality else DASH,
                spread(quality["greedy_mean"], *quality["greedy_ci95"]) if quality else DASH,
                win_rate(against["win_rate"]) if against else DASH,
                win_rate(against["length_controlled"]) if against else DASH,
                f"{model['response_tokens']:,.1f}",
            ]
        )
    heads = ["", "quality", "gain over previous", "gain over M0", "gain over control",
             "perfect", "greedy", "win rate against M0", "length-controlled", "tokens"]  # fmt: skip
    return table(heads, rows)


def head_to_head_table(summary: Entry) -> str:
    """Return the comparisons: wins, ties, losses in percent, win rate and what it would take.

    Those with controls come last.
    """
    rows = []
    controlled = [
        {**item, "opponent": f"{item['opponent']}, {item['control']}"}
        for item in summary.get("against_controls", ())
    ]
    for item in [*summary["comparisons"], *controlled]:
        read = item["wins"] + item["ties"] + item["losses"]
        counts = [item[name] for name in ("wins", "ties", "losses")]
        rows.append(
            [
                f"{item['model']} against {item['opponent']}",
                item["judge"],
                " / ".join(f"{100 * count / read:.1f}" for count in counts) if read else DASH,
                win_rate(item["win_rate"]),
                number(item["flips"], 0),
                number(item["unscored"], 0),
                number(item["prompts"], 0),
                number(item["prompts_needed"], 0),
            ]
        )
    heads = ["", "judge", "win / tie / loss %", "win rate", "flips", "unscored", "prompts",
             "prompts for this difference"]  # fmt: skip
    return table(heads, rows) if rows else ""


def judges_table(summary: Entry) -> str:
    """Return the models as judges of the fixed set: the paper's five measures, and more."""
    models = summary["models"]
    if all(model["judge"]["fixed_set"]["pairwise_accuracy"] is None for model in models):
        return ""
    rows = []
    for model in models:
        judge = model["judge"]
        fixed = judge["fixed_set"]
        rows.append(
            [
                model["name"],
                *(
                    share(fixed[name], 1)
                    for name in ("pairwise_accuracy", "five_best", "exact_match")
                ),
                *(number(fixed[name], 3) for name in ("spearman", "kendall_tau")),
                share(judge["own_answers"]["pairwise_accuracy"], 1),
                number(judge["length_correlation"], 2),
                number(judge["agreement_with_previous"], 2),
                share(judge["parse_rate"], 1),
            ]
        )
    heads = ["judge", "pairwise accuracy", "5-best", "exact match", "Spearman", "Kendall τ",
             "accuracy on own answers", "score with length", "agreement with previous",
             "readable"]  # fmt: skip
    return table(heads, rows)


def best_of_table(summary: Entry) -> str:
    """Return the quality of the answer that each model's own judgment puts first among n."""
    models = [model for model in summary["models"] if model["best_of"]]
    if not models:
        return ""
    sizes = [item["n"] for item in models[0]["best_of"]]
    rows = [
        [model["name"], *(spread_of(item["quality"]) for item in model["best_of"])]
        for model in models
    ]
    return table(["best of n by its own judgment", *(f"n = {n}" for n in sizes)], rows)


def controls_table(summary: Entry) -> str:
    """Return M0 at lower temperatures: how much of a gain is sharpening alone. The strongest, which
    ``gain over control`` is over, is bold.
    """
    rows = [
        [
            f"**{item['model']}**" if item.get("strongest") else item["model"],
            f"{item['temperature']:g}",
            spread_of(item["quality"]),
            f"{item['response_tokens']:,.1f}",
        ]
        for item in summary["controls"]
    ]
    return table(["control", "temperature", "quality", "tokens"], rows) if rows else ""


def comparison(summary: Entry, model: str, opponent: str) -> Entry | None:
    """Return the entry of a model against an opponent, if the two were compared."""
    return next(
        (
            item
            for item in summary["comparisons"]
            if (item["model"], item["opponent"]) == (model, opponent)
        ),
        None,
    )


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table whose first column is flush left and the others flush right.

    Cells are data: a vertical bar in one is escaped.
    """
    align = [":--", *["--:"] * (len(heads) - 1)]
    lines = [heads, align, *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
    )


def spread(mean: float, low: float | None, high: float | None, signed: bool = False) -> str:
    """Return a mean and half the width of its interval, where it has one: ``3.16 ± 0.05``."""
    text = f"{mean:+.2f}" if signed else f"{mean:.2f}"
    return text if low is None or high is None else f"{text} ± {(high - low) / 2:.2f}"


def spread_of(estimate: Entry | None, signed: bool = False) -> str:
    """Return an estimate as ``spread`` does, or a dash."""
    if estimate is None:
        return DASH
    return spread(estimate["mean"], estimate["low"], estimate["high"], signed)


def interval(estimate: Entry | None, form: str) -> str:
    """Return a mean with the ends of its interval, such as ``+0.50 (+0.46 … +0.54)``."""
    if estimate is None:
        return DASH
    if estimate["low"] is None:
        return f"{estimate['mean']:{form}}"
    return f"{estimate['mean']:{form}} ({estimate['low']:{form}} … {estimate['high']:{form}})"


def win_rate(estimate: Entry | None) -> str:
    """Return a win rate in percent with its interval, such as ``64.2 (60.1 … 68.0)``."""
    if estimate is None:
        return DASH
    scaled = {name: None if estimate[name] is None else 100 * estimate[name]
              for name in ("mean", "low", "high")}  # fmt: skip
    return interval(scaled, ".1f")


def number(value: float | None, digits: int = 2) -> str:
    """Return a number with ``digits`` decimals, or a dash."""
    return DASH if value is None else f"{value:,.{digits}f}"


def share(value: float | None, digits: int = 0) -> str:
    """Return a share in [0, 1] in percent, or a dash."""
    return DASH if value is None else f"{100 * value:.{digits}f} %"
