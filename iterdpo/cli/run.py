"""The run: Hydra composes, ``config`` checks, ``assemble`` builds, ``loop`` runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from iterdpo.cli import overrides
from iterdpo.config.compose import conf_directory, typed
from iterdpo.errors import LineageError, UserError
from iterdpo.runtime.signals import Stopped, StopRequest, heard
from iterdpo.runtime.terminal import let_go_of_stdout


@hydra.main(version_base="1.3", config_path=str(conf_directory()), config_name="config")
def job(composed: Any) -> None:
    """Run one job: the only one, or one of a sweep."""
    run_dir = Path(HydraConfig.get().runtime.output_dir)
    sweeping = HydraConfig.get().mode == RunMode.MULTIRUN
    request = StopRequest()
    try:
        config = typed(composed)
        from iterdpo.cli import plan
        from iterdpo.cli.execute import execute

        if config.plan:
            plan.show(config)
            overrides.remove_unused(run_dir)
            return
        with heard(request):
            execute(config, run_dir, stop=request)
    except Stopped as stopped:
        print(f"iterdpo: {stopped}; run the same command again to resume", file=sys.stderr)
        sys.exit(stopped.exit_status)
    except (UserError, LineageError) as error:
        status = 3 if isinstance(error, LineageError) else 2
        print(f"iterdpo: {error}".replace("\n", "\niterdpo: "), file=sys.stderr)
        if not sweeping:
            sys.exit(status)
        overrides.note_failure(run_dir, error)  # the other jobs of the sweep continue


def run() -> None:
    """Check the command line as a whole, then let Hydra run it."""
    try:
        sys.argv[1:] = overrides.check(sys.argv[1:])
    except UserError as error:
        print(f"iterdpo: {error}".replace("\n", "\niterdpo: "), file=sys.stderr)
        sys.exit(2)
    try:
        job()
        sys.stdout.flush()
    except BrokenPipeError:  # of --help; all else Hydra reports itself
        let_go_of_stdout()
