"""Every kind of event of ``make torture`` on a small run with scripted answers and real training.

A program of its own: what computes must not be forked from a process that has computed.
"""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from pathlib import Path

from experiments.torture import Torture, endure
from experiments.torture_child import preload
from experiments.torture_finished import FinishedRun
from iterdpo.config.schema import Config
from iterdpo.engines.scripted import ScriptedEngine
from tests.made_run import answer, choose, config_of
from tests.tools.hub.standin import standing_in


def scripted(config: Config) -> ScriptedEngine:
    # It has nothing to start, and so a start of the run does not count as one of the engine.
    return ScriptedEngine(answer=answer, choose=choose, vocabulary=200, starts=0)


def main(scratch: Path, checkpoint: Path) -> None:
    preload()
    torture = Torture(scratch, lambda place: config_of(place, checkpoint, "iterations=1"), scripted)
    del torture.points[2:]
    torture.at_points()
    torture.at_random(torture.kills + 1, random.Random(0))
    events: Counter[str] = Counter()
    with standing_in() as hub:
        finished = FinishedRun(
            torture.undisturbed,
            torture.errors,
            random.Random(0),
            torture.failures,
            events,
            hub,
            killed_within=0.3,
        )
        endure(finished.kinds, len(finished.kinds), events, torture.failures)
    report = {"kills": torture.kills, "work": dict(torture.work), "events": dict(events)}
    report |= {"repeated": dict(torture.repeated), "failures": torture.failures}
    report["uploaded"] = {kind: sorted(files) for (kind, _), files in finished.uploaded.items()}
    print(json.dumps(report))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
