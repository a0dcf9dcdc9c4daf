"""A run as the command makes it: with lines at the terminal, a page and, where asked, an upload."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from iterdpo.cli import console
from iterdpo.config.schema import Config
from iterdpo.engines.base import Engine
from iterdpo.runs import execute as runs
from iterdpo.runtime.signals import StopRequest
from iterdpo.tools.hub.share import share_at_the_end
from iterdpo.tools.report.write import LiveReport


def execute(
    config: Config,
    run_dir: Path,
    engine: Engine | None = None,
    stop: StopRequest | None = None,
) -> dict[str, Any]:
    """Run the loop, show how it goes and what came of it; see ``runs.execute``."""
    report = LiveReport(run_dir, on=config.report)

    def after_round(result: Mapping[str, Any]) -> None:
        report.write()
        console.announce(result, config.iterations)

    result = runs.execute(config, run_dir, engine, stop, after_round)
    console.show(result, run_dir)
    share_at_the_end(config.hub, run_dir)
    return result
