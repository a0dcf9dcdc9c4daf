"""``python -m iterdpo.compare RUN...``: what M0 and a run's best model answer, side by side."""

from __future__ import annotations

import argparse
import csv
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from iterdpo.errors import UserError
from iterdpo.runtime.terminal import console, harmless, run_tool

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger("iterdpo.compare")  # __name__ is __main__ here

FORMULA = tuple("=+-@\t\r\n＝＋－＠'")
"""What the cells of a spreadsheet begin with that are more than text. The wide ones count too."""

WIDTH = 120
"""Columns of the table where there is no terminal to ask."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool and return its exit status."""
    arguments = parser().parse_args(argv)
    return run_tool("iterdpo.compare", lambda: _run(arguments))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m iterdpo.compare",
        description="Write what models of a run answer to instructions that it has not seen, side "
        "by side: as a table, and as CSV.",
    )
    made.add_argument("runs", nargs="+", type=Path, metavar="RUN",
                      help="a run's directory, or a sweep's")  # fmt: skip
    made.add_argument("--models", nargs="+", metavar="M",
                      help="names such as M0 M3 (default: M0 and the best one)")  # fmt: skip
    source = made.add_mutually_exclusive_group()
    source.add_argument("--prompts", type=Path, metavar="FILE",
                        help="instructions: JSONL, JSON, CSV, Parquet, or text, one a line "
                        "(default: held-out ones of the run's own source)")  # fmt: skip
    source.add_argument("--n", type=_count, default=10, metavar="N",
                        help="how many held-out instructions (default: %(default)s)")  # fmt: skip
    made.add_argument("--field", default="prompt", metavar="NAME",
                      help="column of FILE to read (default: %(default)s)")  # fmt: skip
    how = made.add_mutually_exclusive_group()
    how.add_argument("--greedy", action="store_true", help="likeliest token each time")
    how.add_argument("--temperature", type=_temperature, metavar="T",
                     help="sample at T (default: as the run did)")  # fmt: skip
    made.add_argument("--max-tokens", type=_count, metavar="N",
                      help="longest answer (default: as in the run)")  # fmt: skip
    made.add_argument("--seed", type=int, metavar="N", help="of the sampling (default: the run's)")
    made.add_argument("--engine", choices=("auto", "transformers", "vllm"),
                      help="what runs the models (default: what the run was told)")  # fmt: skip
    made.add_argument("--csv", type=Path, metavar="FILE",
                      help="where to (default: compare.csv in the first run's "
                      "directory)")  # fmt: skip
    return made


def _run(arguments: argparse.Namespace) -> None:
    from iterdpo.runs.directory import find_runs
    from iterdpo.tools.compare import compare

    runs = find_runs(arguments.runs)
    target = arguments.csv or runs[0].directory / "compare.csv"
    frame = compare(
        runs,
        arguments.models,
        prompts=arguments.prompts,
        field=arguments.field,
        n=arguments.n,
        greedy=arguments.greedy,
        temperature=arguments.temperature,
        max_tokens=arguments.max_tokens,
        seed=arguments.seed,
        engine=arguments.engine,
    )
    if trained := int((frame["seen"] == "training").sum()):
        log.warning(
            "%d of %d instructions were trained on: see the column seen, and judge nothing by them",
            trained, len(frame),
        )  # fmt: skip
    write_csv(frame, target)
    show(frame)
    log.info("%s", target)


def write_csv(frame: pd.DataFrame, target: Path) -> None:
    """Write the table so that every text is read back as it is: quoted, line feeds kept.

    A text or a name that a spreadsheet would compute begins with an apostrophe, and one that began
    with an apostrophe with two: whoever reads the file for its texts takes one away.

    Raises:
        UserError: the file cannot be written.
    """
    from iterdpo.store.atomic import write_text

    # With a bare "\r" in a text, only quotes tell a reader that the row goes on.
    safe = frame.map(_no_formula).rename(columns=_no_formula)
    text = safe.to_csv(index=False, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    try:
        write_text(target, text)
    except OSError as error:
        raise UserError(
            f"--csv={target}: cannot be written ({error.strerror}); name another file"
        ) from None


def _no_formula(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell


def show(frame: pd.DataFrame) -> None:
    """Write the table with long texts wrapped, and the mean scores where there are any."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    scored = {name for name in frame if f"{name} score" in frame}
    marked = bool((frame["seen"] != "never").any())
    table = Table(box=SIMPLE_HEAD, header_style="bold", show_lines=True, padding=(0, 1))
    answers = [str(name) for name in frame if name != "seen" and not str(name).endswith(" score")]
    for name in answers:
        table.add_column(Text(harmless(name)), overflow="fold", ratio=1)
    for _, row in frame.iterrows():
        cells = []
        for name in answers:
            missing = not isinstance(row[name], str)
            cell = Text("does not fit the context" if missing else harmless(row[name]),
                        style="dim" if missing else "")  # fmt: skip
            if name in scored and row[f"{name} score"] == row[f"{name} score"]:  # not NaN
                cell.append(f"\n{row[f'{name} score']:.2f} of 5", style="dim")
            if name == "instruction" and marked:
                cell.append(f"\nseen: {row['seen']}", style="dim")
            cells.append(cell)
        table.add_row(*cells)
    out = console(WIDTH)
    out.print(table)
    for name in scored:
        out.print(f"{name}: mean {frame[f'{name} score'].mean():.2f} of 5")


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text}: must be a whole number of at least 1")
    return int(text)


def _temperature(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text}: must be a number of at least 0")
    return value


if __name__ == "__main__":
    sys.exit(main())
