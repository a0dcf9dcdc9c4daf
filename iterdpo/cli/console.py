"""What a person sees at the terminal: a line an iteration, and the table at the end."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from iterdpo.evaluation.summary import ModelSummary, Summary
from iterdpo.evaluation.summary_file import SUMMARY_FILE
from iterdpo.runtime import terminal
from iterdpo.runtime.formatting import DASH, number, percent, spread, spread_of
from iterdpo.runtime.terminal import harmless

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

log = logging.getLogger(__name__)


def announce(summary: Summary, iterations: int) -> None:
    """Log what the newest model and its iteration came to."""
    model = summary.models[-1]
    parts = [f"{model.name} of M{iterations}"]
    if made := summary.iteration(model.iteration):
        judged, dropped = made.judgments, sum(made.pairs.dropped.values())
        parts.append(
            f"{made.candidates} answers, {judged.scored} scored, {judged.unscored} unscored"
        )
        parts.append(f"{made.pairs.kept} pairs, {dropped} dropped")
        if made.training:
            parts.append(f"step-0 loss {made.training.step0_loss:.4f}")
        else:
            parts.append("no pair left: the policy stays")
    if quality := model.evaluation.quality:
        parts.append(f"quality {quality.mean:.2f} of {quality.perfect:g}")
    log.info("%s", " | ".join(parts))
    for alarm in summary.alarms_of(model.iteration):
        log.warning("alarm: %s", alarm.message)


def show(summary: Summary, run_dir: Path) -> None:
    """Print the table of all models."""
    from rich.table import Table

    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for name in COLUMNS:
        table.add_column(name, justify="left" if name == "model" else "right", no_wrap=True)
    for model in summary.models:
        table.add_row(*row(model, summary))
    with printing() as console:
        _print(console, table, summary, run_dir)


def _print(console: Console, table: Table, summary: Summary, run_dir: Path) -> None:
    console.print(table)
    console.print(legend(summary), style="dim")
    lines = [f"best: {summary.best.model}, {summary.best.why}"]
    if summary.stopped:
        lines.append(summary.stopped.message)
    for line in (*lines, f"{run_dir}/{SUMMARY_FILE}"):
        console.print(harmless(line), soft_wrap=True)


@contextmanager
def printing() -> Iterator[Console]:
    """Yield what prints to stdout. The work continues where nobody reads it, or it has no room."""
    # Rich ends the program on a broken pipe, and has sent stdout to nowhere by then.
    with suppress(SystemExit):
        try:
            yield terminal.console(WIDTH)
            sys.stdout.flush()
        except OSError as error:
            terminal.let_go_of_stdout()
            log.warning("stdout: cannot be written to (%s); it is left out", error.strerror)


WIDTH = 110
"""Columns of text where there is no terminal to ask."""

COLUMNS = (
    "model", "quality", "gain", "vs M0", "perfect", "greedy", "tokens", "judge", "own", "pairs",
    "labels",
)  # fmt: skip
LEGEND = (
    "quality, greedy: mean score of sampled and of greedy answers{range}\n"
    "gain: of quality, over the model that the iteration started from, paired, 95 % interval\n"
    "vs M0: win rate of its answers against M0's, by the fixed judge\n"
    "judge, own: pairs rightly ordered, in the reference set and among the model's own answers\n"
    "labels: pairs trained on whose chosen answer is the better one\n"
    "*: the best model"
)


def legend(summary: Summary) -> str:
    """Return what the columns are, with the range of the oracle's scores where there are any."""
    qualities = (model.evaluation.quality for model in summary.models)
    quality = next((found for found in qualities if found), None)
    return LEGEND.format(range=f", 0 to {quality.perfect:g}" if quality else "")


def row(model: ModelSummary, summary: Summary) -> list[str]:
    """Return a model's cells, in the order of ``COLUMNS``."""
    quality, judge, gains = model.evaluation.quality, model.evaluation.judge, model.gains
    made = summary.iteration(model.iteration)
    met = summary.comparison(model.name, summary.models[0].name)
    wins = met.result.win_rate if met else None
    labels = made.pairs.quality.label_accuracy if made else None
    return [
        f"{model.name}{'*' if model.name == summary.best.model else ''}",
        spread(quality.mean, *quality.ci95) if quality else DASH,
        spread_of(gains.over_previous if gains else None, sign=True),
        percent(wins.mean if wins else None),
        percent(quality.perfect_share) if quality else DASH,
        number(quality.greedy_mean) if quality else DASH,
        number(model.evaluation.response_tokens, 1),
        number(judge.reference_set.pairwise_accuracy, 3),
        number(judge.own_answers.pairwise_accuracy, 3),
        number(made.pairs.kept if made else None, 0),
        percent(labels.mean if labels else None),
    ]
