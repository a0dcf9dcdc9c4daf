"""The child process of ``training.process=spawn``: ``python -m iterdpo.training SPEC OUT NAME``."""

from __future__ import annotations

import json
import os
import stat
import sys
import threading
from pathlib import Path

from iterdpo.errors import LineageError, UserError
from iterdpo.quiet import quiet_libraries
from iterdpo.stopping import Stopped, StopRequest, heard
from iterdpo.store.atomic import write_text
from iterdpo.training.run import train_here
from iterdpo.training.spec import read_spec


def main(spec_file: str, out: str, description: str) -> int:
    """Train and return the exit status; an expected failure is left in ``failure.json``."""
    quiet_libraries()
    stop = StopRequest()
    try:
        with heard(stop, quiet=True):
            train_here(read_spec(Path(spec_file)), Path(out), description, stop)
    except Stopped as stopped:
        return stopped.exit_status
    except (UserError, LineageError) as error:
        kind = "LineageError" if isinstance(error, LineageError) else "UserError"
        write_text(
            Path(out) / "failure.json", json.dumps({"kind": kind, "message": str(error)}) + "\n"
        )
        return 1
    return 0


def _end_with_parent() -> None:
    """End this process when the one that waits for it is gone, however that ended.

    It would hold the GPU's memory and write checkpoints beside the training that follows it. The
    parent holds the other end of a pipe that is this process's input, and writes nothing.
    """
    if stat.S_ISFIFO(os.fstat(0).st_mode):
        threading.Thread(target=lambda: (os.read(0, 1), os._exit(1)), daemon=True).start()


if __name__ == "__main__":
    _end_with_parent()
    sys.exit(main(*sys.argv[1:]))
