"""The run: Hydra composes, ``config`` checks, ``assemble`` builds, ``loop`` runs."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra._internal.utils import get_args
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from iterdpo.cli import overrides, sweep
from iterdpo.config.compose import conf_directory, typed
from iterdpo.errors import LineageError, UserError
from iterdpo.runtime.signals import Stopped, heard, process_request
from iterdpo.runtime.terminal import let_go_of_stdout, say


@hydra.main(version_base="1.3", config_path=str(conf_directory()), config_name="config")
def job(composed: Any) -> None:
    """Run one job: the only one, or one of a sweep."""
    run_dir = Path(HydraConfig.get().runtime.output_dir)
    sweeping = HydraConfig.get().mode == RunMode.MULTIRUN
    request = process_request()
    sweep.forget_failure(run_dir)
    try:
        request.check()
        config = typed(composed)
        from iterdpo.cli import plan
        from iterdpo.cli.execute import execute

        if config.plan:
            plan.show(config)
            overrides.remove_unused(run_dir)
            return
        with heard(request, quiet=request.of_worker):
            execute(config, run_dir, stop=request)
    except Stopped as stopped:
        if request.orphaned:
            os._exit(stopped.exit_status)
        if not request.of_worker:  # else the parent waits for what all have in hand
            _end(stopped)
    except (UserError, LineageError) as error:
        _complain(error)
        status = 3 if isinstance(error, LineageError) else 2
        if not (sweeping and sweep.note_failure(run_dir, error)):
            sys.exit(status)


def run() -> None:
    """Check the command line as a whole, then let Hydra run it."""
    try:
        sys.argv[1:] = overrides.check(sys.argv[1:])
    except UserError as error:
        _complain(error)
        sys.exit(2)
    request = process_request()
    sweeping = get_args(sys.argv[1:]).multirun
    try:
        with heard(request, pass_on=True) if sweeping else nullcontext():
            job()
            request.check()  # jobs that workers stopped
        sys.stdout.flush()
    except Stopped as stopped:
        _end(stopped)
    except SystemExit as ended:
        # A worker that a signal ended before it listened is a fault to its launcher.
        if sweeping and request.number is not None and ended.code == 1:
            _end(Stopped(request.number))
        raise
    except BrokenPipeError:  # of --help; all else Hydra reports itself
        let_go_of_stdout()


def _end(stopped: Stopped) -> NoReturn:
    say(f"iterdpo: {stopped}; run the same command again to resume")
    sys.exit(stopped.exit_status)


def _complain(error: Exception) -> None:
    for line in str(error).split("\n"):
        say(f"iterdpo: {line}")
