"""Writing the page of a run or a sweep, by hand or while a run is made."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from iterdpo.errors import UserError
from iterdpo.runs.directory import CONFIG_FILE, find_runs
from iterdpo.store.atomic import write_text

log = logging.getLogger(__name__)

PAGE_FILE = "report.html"


def write(places: Sequence[Path], out: Path | None = None) -> Path:
    """Write the page of the runs at ``places`` and return where it is.

    Args:
        places: runs, or directories of sweeps.
        out: the file; by default ``report.html`` in the run or the sweep, or, for several places,
            in the current directory.

    Raises:
        UserError: a place holds no run with a result, or ``out`` cannot be written to.
    """
    from iterdpo.tools.report import comparison_page, run_page
    from iterdpo.tools.report.page import render

    runs = find_runs(places)
    single = len(runs) == 1 and (places[0] / CONFIG_FILE).is_file()
    if single:
        page = run_page.document(runs[0])
    else:
        title = places[0].resolve().name if len(places) == 1 else "Comparison of runs"
        page = comparison_page.document(runs, title)
    target = out or (places[0] if len(places) == 1 else Path()) / PAGE_FILE
    if target.is_dir():
        raise UserError(f"--out {target}: is a directory; name a file in it")
    html = render(page)
    try:
        write_text(target, html)
    except OSError as error:
        raise UserError(
            f"{target}: cannot be written ({error.strerror}); name another file with --out"
        ) from error
    return target


class LiveReport:
    """The page of a run that is not finished, written again after every iteration.

    A page is no reason to lose a run: the first failure is a warning, and the last attempt.
    """

    def __init__(self, run_dir: Path, on: bool = True) -> None:
        self._run_dir, self._on = run_dir, on

    def write(self) -> None:
        """Write the page of what is done so far."""
        if not self._on:
            return
        try:
            write([self._run_dir])
        except Exception as error:
            self._on = False
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            log.warning(
                "report: %s was not written (%s); it is off for the rest of the run. Write it "
                "when the run is done: python -m iterdpo.report %s",
                self._run_dir / PAGE_FILE, reason, self._run_dir,
            )  # fmt: skip
