"""A run as the command makes it: with lines at the terminal, a page and, where asked, an upload."""

from __future__ import annotations

from pathlib import Path

from iterdpo.cli import console
from iterdpo.config.schema import Config
from iterdpo.engines.base import Engine
from iterdpo.evaluation.summary import Summary
from iterdpo.runs import execute as runs
from iterdpo.runtime.signals import StopRequest
from iterdpo.tools.hub.share import share_at_the_end
from iterdpo.tools.report.write import LiveReport


def execute(
    config: Config,
    run_dir: Path,
    engine: Engine | None = None,
    stop: StopRequest | None = None,
) -> Summary:
    """Run the loop, show how it goes and what came of it; see ``runs.execute``."""
    report = LiveReport(run_dir, on=config.report)

    def after_round(summary: Summary) -> None:
        report.write()
        console.announce(summary, config.iterations)

    summary = runs.execute(config, run_dir, engine, stop, after_round)
    console.show(summary, run_dir)
    share_at_the_end(config.hub, run_dir)
    return summary
