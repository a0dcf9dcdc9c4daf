"""The results as the paper sets them out: models in rows, what was measured of them in columns.

Self-Rewarding Language Models (arXiv 2401.10020) has a table of win rates and answer lengths (its
table 1), one of head-to-head comparisons (figure 3) and one of the models as judges (table 4). Here
they are rendered as Markdown from a run's summary, with intervals, which the paper's lack.
"""

from __future__ import annotations

from collections.abc import Sequence

from iterdpo.evaluation.head_to_head import HeadToHead
from iterdpo.evaluation.length_control import NOT_ESTIMABLE
from iterdpo.evaluation.summary import Summary
from iterdpo.runtime.formatting import DASH, estimate, number, percent, spread, spread_of


def markdown(summary: Summary) -> str:
    """Return every table that a summary has numbers for, a blank line between them."""
    tables = [
        answers_table(summary),
        head_to_head_table(summary),
        judges_table(summary),
        best_of_table(summary),
        baselines_table(summary),
        f"Best: **{summary.best.model}**, {summary.best.why}.",
    ]
    return "\n\n".join(table for table in tables if table) + "\n"


def answers_table(summary: Summary) -> str:
    """Return the models as writers: quality, gain, win rate against M0, length."""
    rows = []
    for model in summary.models:
        quality, gains = model.evaluation.quality, model.gains
        met = summary.comparison(model.name, summary.models[0].name)
        rows.append(
            [
                f"**{model.name}**" if model.name == summary.best.model else model.name,
                spread(quality.mean, *quality.ci95) if quality else DASH,
                estimate(gains.over_previous if gains else None, sign=True),
                estimate(gains.over_initial if gains else None, sign=True),
                estimate(gains.over_baseline if gains else None, sign=True),
                percent(quality.perfect_share) if quality else DASH,
                spread(quality.greedy_mean, *quality.greedy_ci95) if quality else DASH,
                estimate(met.result.win_rate if met else None, 1, scale=100),
                _length_controlled(met.result) if met else DASH,
                number(model.evaluation.response_tokens, 1),
            ]
        )
    heads = ["", "quality", "gain over previous", "gain over M0", "gain over baseline",
             "perfect", "greedy", "win rate against M0", "length-controlled", "tokens"]  # fmt: skip
    return table(heads, rows)


def _length_controlled(found: HeadToHead) -> str:
    if found.win_rate and not found.length_controlled:
        return NOT_ESTIMABLE
    return estimate(found.length_controlled, 1, scale=100)


def head_to_head_table(summary: Summary) -> str:
    """Return the comparisons: wins, ties, losses in percent, win rate and what it would take.

    Those with M0's baselines come last.
    """
    rows = []
    for item in (*summary.comparisons, *summary.against_baselines):
        found = item.result
        counts = found.wins, found.ties, found.losses
        read = sum(counts)
        rows.append(
            [
                f"{item.model} against {item.opponent_name}",
                item.judge,
                " / ".join(f"{100 * count / read:.1f}" for count in counts) if read else DASH,
                estimate(found.win_rate, 1, scale=100),
                number(found.flips, 0),
                number(found.unscored, 0),
                number(found.prompts, 0),
                number(found.prompts_needed, 0),
            ]
        )
    heads = ["", "judge", "win / tie / loss %", "win rate", "flips", "unscored", "prompts",
             "prompts for this difference"]  # fmt: skip
    return table(heads, rows) if rows else ""


def judges_table(summary: Summary) -> str:
    """Return the models as judges of the reference set: the paper's five measures, and more."""
    rows = []
    for model in summary.models:
        judge, alike = model.evaluation.judge, model.agreement_with_previous
        measured = judge.reference_set
        rows.append(
            [
                model.name,
                percent(measured.pairwise_accuracy, 1),
                percent(measured.five_best, 1),
                percent(measured.exact_match, 1),
                number(measured.spearman, 3),
                number(measured.kendall_tau, 3),
                percent(judge.own_answers.pairwise_accuracy, 1),
                number(judge.length_correlation, 2),
                number(alike.mean if alike else None, 2),
                percent(judge.parse_rate, 1),
            ]
        )
    if all(row[1] == DASH for row in rows):
        return ""
    heads = ["judge", "pairwise accuracy", "5-best", "exact match", "Spearman", "Kendall τ",
             "accuracy on own answers", "score with length", "agreement with previous",
             "readable"]  # fmt: skip
    return table(heads, rows)


def best_of_table(summary: Summary) -> str:
    """Return the quality of the answer that each model's own judgment puts first among n."""
    found = [(model.name, model.evaluation.best_of) for model in summary.models]
    found = [(name, best_of) for name, best_of in found if best_of]
    if not found:
        return ""
    sizes = [item.n for item in found[0][1]]
    rows = [[name, *(spread_of(item.quality) for item in best_of)] for name, best_of in found]
    return table(["best of n by its own judgment", *(f"n = {n}" for n in sizes)], rows)


def baselines_table(summary: Summary) -> str:
    """Return M0 at lower temperatures: how much of a gain is sharpening alone. The strongest, which
    ``gain over baseline`` is over, is bold.
    """
    name = summary.models[0].name
    rows = [
        [
            f"**{name}**" if item.result.strongest else name,
            f"{item.result.temperature:g}",
            spread_of(item.result.quality),
            number(item.result.response_tokens, 1),
        ]
        for item in summary.temperature_baselines
    ]
    return table(["baseline", "temperature", "quality", "tokens"], rows) if rows else ""


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table whose first column is flush left and the others flush right.

    Cells are data: a vertical bar in one is escaped.
    """
    align = [":--", *["--:"] * (len(heads) - 1)]
    lines = [heads, align, *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
    )
