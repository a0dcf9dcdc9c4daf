"""The child process of ``training.process=spawn``: ``python -m iterdpo.training SPEC OUT NAME``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from iterdpo.errors import LineageError, UserError
from iterdpo.quiet import quiet_libraries
from iterdpo.store.atomic import write_text
from iterdpo.training.run import train_here
from iterdpo.training.spec import TrainSpec


def main(spec_file: str, out: str, description: str) -> int:
    """Train and return the exit status; an expected failure is left in ``failure.json``."""
    quiet_libraries()
    try:
        train_here(TrainSpec.read(Path(spec_file)), Path(out), description)
    except (UserError, LineageError) as error:
        kind = "LineageError" if isinstance(error, LineageError) else "UserError"
        write_text(
            Path(out) / "failure.json", json.dumps({"kind": kind, "message": str(error)}) + "\n"
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
