"""What a person sees at the terminal: a line an iteration, and the table at the end."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iterdpo.evaluation.table import DASH, comparison, number, spread, spread_of
from iterdpo.evaluation.table import share as percent

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

log = logging.getLogger(__name__)


def announce(result: Mapping[str, Any], iterations: int) -> None:
    """Log what the newest model and its iteration came to."""
    model = result["models"][-1]
    parts = [f"{model['name']} of M{iterations}"]
    if model["iteration"]:
        made = result["iterations"][-1]
        scored, unscored = made["judgments"]["scored"], made["judgments"]["unscored"]
        parts.append(f"{made['candidates']} answers, {scored} scored, {unscored} unscored")
        dropped = sum(made["pairs"]["dropped"].values())
        parts.append(f"{made['pairs']['kept']} pairs, {dropped} dropped")
        if made["training"]:
            parts.append(f"step-0 loss {made['training']['step0_loss']:.4f}")
        else:
            parts.append("no pair left: the policy stays")
    if model["quality"]:
        quality = model["quality"]
        parts.append(f"quality {quality['mean']:.2f} of {quality['perfect']:g}")
    log.info("%s", " | ".join(parts))
    for alarm in result["alarms"]:
        if alarm["iteration"] == model["iteration"]:
            log.warning("alarm: %s", alarm["message"])


def show(result: Mapping[str, Any], run_dir: Path) -> None:
    """Print the table of all models."""
    from rich.table import Table

    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for name in COLUMNS:
        table.add_column(name, justify="left" if name == "model" else "right", no_wrap=True)
    for model in result["models"]:
        table.add_row(*row(model, result))
    with printing() as console:
        _print(console, table, result, run_dir)


def _print(console: Console, table: Table, result: Mapping[str, Any], run_dir: Path) -> None:
    console.print(table)
    console.print(legend(result), style="dim", highlight=False)
    if best := result["best"]:
        said = f"best: {best['model']}, {best['why']}"
        console.print(said, highlight=False, markup=False, soft_wrap=True)
    if stopped := result["stopped"]:
        console.print(stopped["message"], highlight=False, markup=False, soft_wrap=True)
    console.print(f"{run_dir}/summary.json", highlight=False, markup=False, soft_wrap=True)


@contextmanager
def printing() -> Iterator[Console]:
    """Yield what prints to stdout. Who reads it may go away early: the work continues without."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    # Rich ends the program on a broken pipe, and has sent stdout to nowhere by then.
    with suppress(SystemExit):
        yield console


WIDTH = 110
"""Columns of text where there is no terminal to ask."""

COLUMNS = (
    "model", "quality", "gain", "vs M0", "perfect", "greedy", "tokens", "judge", "own", "pairs",
    "labels",
)  # fmt: skip
LEGEND = (
    "quality, greedy: mean score of sampled and of greedy answers{range}\n"
    "gain: of quality, over the model that the iteration started from, paired, 95 % interval\n"
    "vs M0: win rate of its answers against M0's, by the judge that never changes\n"
    "judge, own: pairs rightly ordered, in the fixed set and among the model's own answers\n"
    "labels: pairs trained on whose chosen answer is the better one\n"
    "*: the best model"
)


def legend(result: Mapping[str, Any]) -> str:
    """Return what the columns are, with the range of the oracle's scores where there are any."""
    qualities = (model["quality"] for model in result["models"])
    quality = next((found for found in qualities if found), None)
    return LEGEND.format(range=f", 0 to {quality['perfect']:g}" if quality else "")


def row(model: Mapping[str, Any], result: Mapping[str, Any]) -> list[str]:
    """Return a model's cells, in the order of ``COLUMNS``."""
    quality, judge, gain = model["quality"], model["judge"], model["gain"]
    iterations = result["iterations"]
    made = next((item for item in iterations if item["iteration"] == model["iteration"]), None)
    pairs = made["pairs"] if made else {"kept": None, "label_accuracy": None}
    best = result["best"] and result["best"]["model"] == model["name"]
    against = comparison(result, model["name"], result["models"][0]["name"])
    return [
        f"{model['name']}{'*' if best else ''}",
        spread(quality["mean"], *quality["ci95"]) if quality else DASH,
        spread_of(gain["over_previous"] if gain else None, signed=True),
        percent(against["win_rate"]["mean"] if against and against["win_rate"] else None),
        percent(quality["perfect_share"]) if quality else DASH,
        number(quality["greedy_mean"]) if quality else DASH,
        number(model["response_tokens"], 1),
        number(judge["fixed_set"]["pairwise_accuracy"], 3),
        number(judge["own_answers"]["pairwise_accuracy"], 3),
        number(pairs["kept"], 0),
        percent(pairs["label_accuracy"]),
    ]
