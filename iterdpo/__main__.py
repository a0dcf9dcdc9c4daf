"""``python -m iterdpo``: Hydra composes, ``config`` checks, ``assemble`` builds, ``loop`` runs.

Exit status: 0 done; 1 a bug, or a job of a sweep failed; 2 something the user can put right;
3 a proof of correctness failed; 130 and 143 stopped by SIGINT and SIGTERM.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from iterdpo import command
from iterdpo.errors import LineageError, UserError
from iterdpo.stopping import Stopped, StopRequest, heard
from iterdpo.terminal import let_go_of_stdout


@hydra.main(version_base="1.3", config_path=str(command.conf_directory()), config_name="config")
def job(composed: Any) -> None:
    """Run one job: the only one, or one of a sweep."""
    run_dir = Path(HydraConfig.get().runtime.output_dir)
    sweeping = HydraConfig.get().mode == RunMode.MULTIRUN
    request = StopRequest()
    try:
        config = command.typed(composed)
        from iterdpo import plan, run

        if config.plan:
            plan.show(config)
            command.remove_unused(run_dir)
            return
        with heard(request):
            run.execute(config, run_dir, stop=request)
    except Stopped as stopped:
        print(f"iterdpo: {stopped}; run the same command again to go on", file=sys.stderr)
        sys.exit(stopped.exit_status)
    except (UserError, LineageError) as error:
        status = 3 if isinstance(error, LineageError) else 2
        print(f"iterdpo: {error}".replace("\n", "\niterdpo: "), file=sys.stderr)
        if not sweeping:
            sys.exit(status)
        command.note_failure(run_dir, error)  # the other jobs of the sweep go on


def _main() -> None:
    """Check the command line as a whole, then let Hydra run it."""
    try:
        command.check(sys.argv[1:])
    except UserError as error:
        print(f"iterdpo: {error}".replace("\n", "\niterdpo: "), file=sys.stderr)
        sys.exit(2)
    try:
        job()
        sys.stdout.flush()
    except BrokenPipeError:  # of --help; all else Hydra reports itself
        let_go_of_stdout()


def main() -> None:
    """Do what the command line says; Ctrl-C ends it in a line from its first second on."""
    try:
        _main()
    except KeyboardInterrupt:  # before a run listens for it, or between two jobs of a sweep
        print("iterdpo: stopped by SIGINT; run the same command again to go on", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
