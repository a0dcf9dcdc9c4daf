"""What a tracker knows a run by: kept in the run's directory, so that a stopped run resumes as
itself.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from iterdpo.store.atomic import write_text

RUN_ID_FILE = "tracker-run-id"


def run_id(run_dir: Path) -> str:
    """Return the id of the run in ``run_dir``: eight hex digits, made at the first call."""
    file = run_dir / RUN_ID_FILE
    if not file.exists():
        write_text(file, secrets.token_hex(4))
    return file.read_text("ascii").strip()


def forget_run_id(run_dir: Path) -> None:
    """Let the next call make an id anew."""
    (run_dir / RUN_ID_FILE).unlink(missing_ok=True)


def take_over(stopped: Path, run_dir: Path) -> None:
    """Let the run in ``run_dir`` resume the tracker's run that was stopped, if there was one."""
    file = stopped / RUN_ID_FILE
    if file.is_file() and not (run_dir / RUN_ID_FILE).exists():
        write_text(run_dir / RUN_ID_FILE, file.read_text("ascii"))
