"""One run: the loop, with its store, its tracker and its run directory."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any

from iterdpo import loop
from iterdpo.assemble import assemble, library_versions
from iterdpo.config.choices import as_values
from iterdpo.config.schema import Config
from iterdpo.engines.base import Engine
from iterdpo.errors import EngineDiedError
from iterdpo.evaluation.summary import Summary
from iterdpo.evaluation.summary_file import SUMMARY_FILE, write_summary
from iterdpo.runs.directory import CONFIG_FILE, KEY_DIGITS, LINKS_DIR
from iterdpo.runs.earlier import earlier_summary, set_others_aside
from iterdpo.runs.stage_costs import StageCosts
from iterdpo.runs.summary_builder import SummaryBuilder, run_summary
from iterdpo.runtime.quiet import quiet_libraries
from iterdpo.runtime.signals import StopRequest
from iterdpo.store.atomic import disk_errors_named, write_text
from iterdpo.store.hashing import sha256_of
from iterdpo.store.registry import RegisteredRun
from iterdpo.store.runner import Stages
from iterdpo.tracking.run_id import take_over

log = logging.getLogger(__name__)


def execute(
    config: Config,
    run_dir: Path,
    engine: Engine | None = None,
    stop: StopRequest | None = None,
    after_round: Callable[[Summary], None] = lambda _: None,
) -> Summary:
    """Run the loop as ``config`` says and return its result.

    The summary is written after every iteration, so a run that is stopped leaves the part of it
    that is done.

    Args:
        config: the typed configuration.
        run_dir: where the run's own files go.
        engine: takes the place of the configured one, in tests and dry runs.
        stop: looked at wherever the run can stop without losing anything.
        after_round: called with the summary after every model, when the run directory holds it.

    Raises:
        UserError: something the user can put right; whatever was computed is in the store.
        LineageError: a run-time check of correctness failed.
    """
    quiet_libraries()
    with _named(run_dir):
        run_dir.mkdir(parents=True, exist_ok=True)
    values: Any = as_values(config)
    registered = RegisteredRun(config.store.root, run_dir, sha256_of(values))
    with registered.living():
        with _named(run_dir):
            set_others_aside(run_dir, values)
            write_text(run_dir / CONFIG_FILE, json.dumps(values, indent=1) + "\n")
            with registered.continued() as stopped:
                if stopped:
                    log.info("resuming what %s left in %s", stopped, config.store.root)
                    take_over(stopped, run_dir)
        builder = SummaryBuilder(config, earlier_summary(stopped or run_dir, values))
        return _execute(config, run_dir, engine, stop, registered, builder, after_round)


def _execute(
    config: Config,
    run_dir: Path,
    engine: Engine | None,
    stop: StopRequest | None,
    registered: RegisteredRun,
    builder: SummaryBuilder,
    after_round: Callable[[Summary], None],
) -> Summary:
    began = time.monotonic()
    assembly = assemble(config, run_dir, engine)
    tracker, costs = assembly.tracker, StageCosts()
    stages = Stages(
        config.store.root, library_versions(), costs.add, registered, stop or StopRequest()
    )
    summary: Summary | None = None
    tracker.start(json.loads(json.dumps(as_values(config))), stages.versions, run_dir)
    finished = False
    try:
        with closing(assembly.engine):
            for done in loop.run(assembly.recipe, config.iterations, stages):
                builder.add(done, costs.next_round())
                took = time.monotonic() - began
                run = run_summary(config, assembly.engine, took, costs.all, stages.versions)
                summary = builder.summary(assembly.engine.results, run)
                with _named(run_dir):
                    # What was done before is not undone by a start that is stopped early.
                    if not (builder.behind and (run_dir / SUMMARY_FILE).exists()):
                        write_summary(summary, run_dir)
                    link(stages.used, run_dir / LINKS_DIR)
                tracker.round(done, summary)
                after_round(summary)
        if summary and builder.behind:
            with _named(run_dir):
                write_summary(summary, run_dir)
        registered.finish()
        finished = True
    except EngineDiedError:
        stages.stop.check()  # a signal to all of a job's processes ends the engine first
        raise
    finally:
        tracker.finish(summary, failed=not finished)
    assert summary is not None  # of M0 at least
    return summary


def _named(run_dir: Path) -> AbstractContextManager[None]:
    return disk_errors_named(run_dir, "another directory, hydra.run.dir=DIR")


def link(used: Mapping[str, Path], directory: Path) -> None:
    """Point from the run directory to every stage it used, in order: ``03-candidates-1f2e3d4c``."""
    directory.mkdir(exist_ok=True)
    for number, (name, target) in enumerate(used.items()):
        stage, key = name.split("/")
        place = directory / f"{number:02d}-{stage}-{key[:KEY_DIGITS]}"
        if place.is_symlink():
            if place.readlink() == target.resolve():
                continue
            place.unlink()  # of a store that was elsewhere when the run began
        place.symlink_to(target.resolve(), target_is_directory=True)
