"""What each iteration made: answers, scores, lengths, pairs kept and dropped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from iterdpo.errors import UserError
from iterdpo.evaluation.summary import IterationSummary
from iterdpo.runs.directory import Run
from iterdpo.runtime.formatting import DASH, number
from iterdpo.tools.report import charts
from iterdpo.tools.report.document import Cell, Chart, ChartGroup, Part, Section, Table, Text
from iterdpo.tools.report.labels import overlooked
from iterdpo.tools.report.pairs import Found
from iterdpo.tools.report.reading import Iteration, iterations
from iterdpo.tools.report.sections.cells import share_cell

BINS = 20
REASONS = {
    "kept": "var(--series-1)", "tie": "var(--drop-1)", "margin": "var(--drop-2)",
    "identical": "var(--drop-3)", "unscored": "var(--series-2)", "truncated": "var(--series-3)",
    "empty": "var(--series-4)", "too_few_candidates": "var(--drop-4)",
    "unfinished_thought": "var(--cost-1)",
}  # fmt: skip


def data_generation(run: Run, found: Found) -> Section | None:
    """Return the section on the pairs and what they were made from."""
    entries = run.summary.iterations
    if not entries:
        return None
    outcomes = [*_outcomes(entries)]
    colors = REASONS | {
        str(row["outcome"]): "var(--faint)" for row in outcomes if row["outcome"] not in REASONS
    }
    parts: list[Part] = [
        charts.stacked(
            "outcomes", "Pairs kept and dropped",
            "Every prospective pair of an iteration is kept or dropped for one reason; they add up "
            "to prompts × k. Tie: equal scores. Margin: scores closer than pairs.min_margin.",
            outcomes, y="iteration", x="pairs", x_title="prospective pairs", series="outcome",
            colors=colors,
        ),
        _table(entries),
        *_distributions(run),
    ]  # fmt: skip
    if table := _overlooked(found, len(entries)):
        parts.append(table)
    return Section("data-generation", "Pairs", parts)


def _outcomes(entries: Sequence[IterationSummary]) -> Iterator[dict[str, Any]]:
    for entry in entries:
        made = {"kept": entry.pairs.kept, **entry.pairs.dropped}
        for outcome, count in made.items():
            if count:
                yield {"iteration": f"for M{entry.iteration}", "outcome": outcome,
                       "pairs": count}  # fmt: skip


def _table(entries: Sequence[IterationSummary]) -> Table:
    rows: list[list[str | Cell]] = []
    for entry in entries:
        pairs, judged, labels = entry.pairs, entry.judgments, entry.pairs.quality.label_accuracy
        reasons = ", ".join(f"{name} {count:,}" for name, count in judged.reasons.items())
        rows.append(
            [
                f"for M{entry.iteration}",
                f"{entry.prompts:,}",
                f"{entry.candidates:,}",
                f"{judged.scored:,}",
                f"{judged.unscored:,}" + (f" ({reasons})" if reasons else ""),
                f"{pairs.kept:,}",
                f"{sum(pairs.dropped.values()):,}",
                share_cell(labels, 1),
                number(pairs.quality.margin_mean),
                number(pairs.quality.length_ratio),
            ]
        )
    return Table(
        "What the iterations made",
        ["", "prompts", "answers", "scored", "unscored", "kept", "dropped", "labels right",
         "margin", "length ratio"],
        rows,
        "Labels right: kept pairs whose chosen answer is the better one by the oracle, equal ones "
        "counting one half. Margin: mean difference of the judge's scores. Length ratio: mean "
        "tokens of chosen over rejected answers; above 1, longer answers are preferred.",
    )  # fmt: skip


def _distributions(run: Run) -> Iterator[Part]:
    scores, lengths, gone = [], [], []
    for made in iterations(run):
        name = f"for M{made.number}"
        try:
            judged, tokens = made.scores(), made.lengths()
        except UserError as error:
            gone.append(str(error))
            continue
        scores.append((name, judged, made))
        lengths.append((name, tokens))
    if scores:
        span = _span(scores)
        longest = max((max(tokens, default=0) for _, tokens in lengths), default=0)
        yield ChartGroup(
            [
                _histogram("scores", "Scores given", "judge's score",
                           [(name, values) for name, values, _ in scores], *span),
                _histogram("lengths", "Lengths of answers", "tokens", lengths, 0, longest + 1),
            ]
        )  # fmt: skip
    yield from (Text(text, "warning") for text in gone)


def _span(scores: Sequence[tuple[str, list[float], Iteration]]) -> tuple[float, float]:
    for _, _, made in scores:
        if made.scale:
            return made.scale
    values = [value for _, judged, _ in scores for value in judged] or [0.0, 1.0]
    return min(values), max(values)


def _histogram(
    name: str, title: str, what: str, values: Sequence[tuple[str, Sequence[float]]],
    low: float, high: float,
) -> Chart:  # fmt: skip
    rows = [row for iteration, found in values for row in histogram(found, low, high, iteration)]
    return charts.curves(
        name, title,
        f"Share of an iteration's answers in {BINS} bins of equal width. All answers, those that "
        "made no pair included.",
        rows, x="from", y="share", x_title=what, y_title="share", series="iteration", steps=True,
        height=180, zero=True,
    )  # fmt: skip


def histogram(
    values: Sequence[float], low: float, high: float, iteration: str
) -> Iterator[dict[str, Any]]:
    """Yield the share of ``values`` in each of ``BINS`` bins from ``low`` to ``high``.

    The highest value falls into the last bin. An empty entry at ``high`` closes the last step.
    """
    width = (high - low) / BINS or 1.0
    counts = [0] * BINS
    for value in values:
        counts[min(max(int((value - low) / width), 0), BINS - 1)] += 1
    for place, count in enumerate(counts):
        yield {"iteration": iteration, "from": round(low + place * width, 6),
               "to": round(low + (place + 1) * width, 6), "answers": count,
               "share": count / len(values) if values else 0.0}  # fmt: skip
    yield {"iteration": iteration, "from": high, "to": high, "answers": 0, "share": 0.0}


def _overlooked(found: Found, last: int) -> Table | None:
    rows = []
    for number_ in range(1, last + 1):
        labels = [pair.label for pair in found.of_iteration(number_) if pair.label]
        wrong = sum(label.verdict == "wrong" for label in labels)
        equal = sum(label.verdict == "equal" for label in labels)
        counts = overlooked(labels)
        said = ", ".join(f"{point} {count:,}" for point, count in counts.most_common())
        if labels:
            rows.append([f"for M{number_}", f"{len(labels):,}", f"{wrong:,}", f"{equal:,}",
                         said or DASH])  # fmt: skip
    if not rows:
        return None
    return Table(
        "Wrong labels, and what the judge overlooked",
        ["", "pairs", "wrong", "equal", "points that only the rejected answer earned"],
        rows,
        "By the oracle: wrong where the rejected answer is the better one, equal where neither is. "
        "One pair can miss several points. The pair browser marks each wrong pair and says why.",
        texts=(4,),
    )
