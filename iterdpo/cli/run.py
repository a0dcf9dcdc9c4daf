"""The run: Hydra composes, ``config`` checks, ``assemble`` builds, ``loop`` runs."""

from __future__ import annotations

import io
import os
import sys
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra._internal.utils import get_args
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from iterdpo.cli import overrides, sweep
from iterdpo.cli.console import printing
from iterdpo.cli.directories import remove_unused
from iterdpo.config.compose import conf_directory, typed
from iterdpo.config.secrets import without_secrets
from iterdpo.errors import LineageError, UserError
from iterdpo.runtime.signals import Stopped, heard, process_request
from iterdpo.runtime.terminal import (
    let_go_of_stdout,
    require_working_directory,
    say,
    spell_what_stdout_lacks,
)


@hydra.main(version_base="1.3", config_path=str(conf_directory()), config_name="config")
def job(composed: Any) -> None:
    """Run one job: the only one, or one of a sweep."""
    run_dir = Path(HydraConfig.get().runtime.output_dir)
    sweeping = HydraConfig.get().mode == RunMode.MULTIRUN
    request = process_request()
    try:
        sweep.forget_failure(run_dir)
        request.check()
        config = typed(composed)
        from iterdpo.cli import plan
        from iterdpo.cli.execute import execute

        if config.plan:
            with printing():
                plan.show(config)
            remove_unused(run_dir)
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
        require_working_directory()
        sys.argv[1:] = overrides.check(sys.argv[1:])
    except UserError as error:
        _complain(error)
        sys.exit(2)
    request = process_request()
    flags = get_args(sys.argv[1:])
    sweeping, shown = flags.multirun, io.StringIO()
    only_shows = any((flags.help, flags.hydra_help, flags.info, flags.cfg, flags.shell_completion))
    try:
        with (
            heard(request, pass_on=True) if sweeping else nullcontext(),
            redirect_stdout(shown) if only_shows else nullcontext(),
        ):
            try:
                job()
            except SystemExit as ended:
                if ended.code or not only_shows:  # Hydra ends well after --help
                    raise
            request.check()  # jobs that workers stopped
        spell_what_stdout_lacks()
        # Here, since Hydra takes a full disk for a bug. With --resolve it shows what no file holds.
        sys.stdout.write(without_secrets(shown.getvalue()))
        sys.stdout.flush()
    except Stopped as stopped:
        _end(stopped)
    except SystemExit as ended:
        # A worker that a signal ended before it listened is a fault to its launcher.
        if sweeping and request.number is not None and ended.code == 1:
            _end(Stopped(request.number))
        raise
    except OSError as error:  # of stdout; all else Hydra reports itself
        let_go_of_stdout()
        if not isinstance(error, BrokenPipeError):
            say(f"iterdpo: stdout: cannot be written to ({error.strerror})")
            sys.exit(2)


def _end(stopped: Stopped) -> NoReturn:
    say(f"iterdpo: {stopped}; run the same command again to resume")
    sys.exit(stopped.exit_status)


def _complain(error: Exception) -> None:
    for line in str(error).split("\n"):
        say(f"iterdpo: {line}")
