"""``python -m iterdpo.judge_check DATA [KEY=VALUE ...]``: how right a judge is, with intervals."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from iterdpo.errors import UserError
from iterdpo.runtime.terminal import console, harmless, run_tool

if TYPE_CHECKING:
    from iterdpo.evaluation.statistics import Estimate
    from iterdpo.tools.judge_check import CheckedJudge

log = logging.getLogger("iterdpo.judge_check")  # __name__ is __main__ here

WIDTH = 120
"""Columns of the table where there is no terminal to ask."""
FIGURES = (
    ("pairwise_accuracy", "pairwise accuracy (chance 0.5)"),
    ("accuracy_longer_wrong", "... where the longer answer is the worse"),
    ("longer_better", "the longer answer is the better"),
    ("exact_match", "exact match"),
    ("five_best", "5-best"),
    ("spearman", "Spearman"),
    ("kendall_tau", "Kendall tau-b"),
    ("ties", "ties"),
    ("scored", "scored answers"),
    ("mass", "probability on scores"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool and return its exit status."""
    arguments = parser().parse_args(argv)
    return run_tool("iterdpo.judge_check", lambda: _run(arguments))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m iterdpo.judge_check",
        description="Measure judges on answers whose order is known: preference pairs, ranked "
        "responses, OpenAssistant's trees. A judge is composed as in a run: judge=additive "
        "judge.score=expected model.path=DIR.",
    )
    made.add_argument("data", metavar="DATA", help="a file, a directory or a dataset of the hub")
    made.add_argument("overrides", nargs="*", metavar="KEY=VALUE",
                      help="settings of the judge and its model, as of a run")  # fmt: skip
    made.add_argument("--judge", action="append", metavar="'KEY=VALUE ...'", default=None,
                      help="a judge; repeat it to have several side by side")  # fmt: skip
    made.add_argument("--n", type=_count, metavar="N",
                      help="judge a sample of N rows (default: all)")  # fmt: skip
    made.add_argument("--subset", metavar="NAME", help="the dataset's configuration")
    made.add_argument("--split", default="train", metavar="NAME",
                      help="of a directory or dataset (default: %(default)s)")  # fmt: skip
    made.add_argument("--json", type=Path, metavar="FILE", help="write all figures there as well")
    return made


def _run(arguments: argparse.Namespace) -> None:
    from iterdpo.runtime.quiet import quiet_libraries
    from iterdpo.tools.judge_check import check_judges

    quiet_libraries()
    found = check_judges(
        arguments.data,
        arguments.judge or [""],
        arguments.overrides,
        subset=arguments.subset,
        split=arguments.split,
        n=arguments.n,
    )
    show(found)
    if arguments.json is not None:
        _write(found, arguments.json)


def show(found: Sequence[CheckedJudge]) -> None:
    """Write the table, one column a judge, and below it what no interval belongs to."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, header_style="bold", padding=(0, 1))
    table.add_column("")
    for item in found:
        table.add_column(Text(harmless(item.judge)), overflow="fold")
    for name, words in FIGURES:
        table.add_row(words, *(_figure(getattr(item.check, name)) for item in found))
    table.add_row("unscored", *(_counts(item.check.unscored) for item in found))
    bins = [item.check.margins for item in found]
    table.add_row(
        "accuracy by rising margin",
        *(" ".join(f"{own.accuracy:.2f}" for own in each) or "-" for each in bins),
    )
    for key in dict.fromkeys(key for item in found for key in item.metrics.get("judge", {})):
        table.add_row(
            key.replace("_", " "),
            *(_plain(item.metrics.get("judge", {}).get(key)) for item in found),
        )
    table.add_row("seconds a judgment",
                  *(f"{item.seconds / item.check.answers:.2g}" for item in found))  # fmt: skip
    for kind in ("prompt_tokens", "generated_tokens"):
        spent = [item.metrics["engine"][kind] / item.check.answers for item in found]
        table.add_row(f"{kind.replace('_', ' ')} a judgment", *(f"{each:.0f}" for each in spent))
    console(WIDTH).print(table)
    for item in found:
        if not item.check.above_chance:
            log.warning("%s: its accuracy does not clear chance here", harmless(item.judge))


def _figure(found: Estimate | None) -> str:
    if found is None:
        return "-"
    if found.low is None or found.high is None:
        return f"{found.mean:.2f}"
    return f"{found.mean:.2f} ({found.low:.2f} … {found.high:.2f})"


def _counts(by_reason: object) -> str:
    assert isinstance(by_reason, dict)
    return ", ".join(f"{n} {reason}" for reason, n in sorted(by_reason.items())) or "0"


def _plain(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"


def _write(found: Sequence[CheckedJudge], target: Path) -> None:
    from iterdpo.store.atomic import write_text
    from iterdpo.store.hashing import plain

    values = [plain(item) for item in found]
    try:
        write_text(target, json.dumps(values, indent=1, sort_keys=True) + "\n")
    except OSError as error:
        raise UserError(
            f"--json={target}: cannot be written ({error.strerror}); name another file"
        ) from None


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text}: must be a whole number of at least 1")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
