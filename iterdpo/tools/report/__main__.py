"""``python -m iterdpo.report RUN…``: one HTML page of a run, or one that compares several.

Exit status: 0 done; 2 something the user can put right.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from iterdpo.runtime.terminal import run_tool
from iterdpo.tools.report.write import write


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page, say where it is, and return the exit status."""
    arguments = parser().parse_args(argv)

    def make() -> None:
        sys.stdout.write(f"{write(arguments.runs, arguments.out)}\n")

    return run_tool("iterdpo.report", make)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m iterdpo.report",
        description="Write one self-contained HTML page of a run, or one that compares several.",
    )
    made.add_argument("runs", nargs="+", type=Path, metavar="RUN",
                      help="a run's directory, or a sweep's for all of its runs")  # fmt: skip
    made.add_argument("--out", type=Path, metavar="FILE",
                      help="where to (default: report.html in the run or the sweep; in the "
                      "current directory for several)")  # fmt: skip
    return made


if __name__ == "__main__":
    sys.exit(main())
