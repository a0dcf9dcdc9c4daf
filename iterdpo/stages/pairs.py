"""Judged candidates become preference pairs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from iterdpo.pairing.base import DropReason, Pairing, Strategy, build_pairs
from iterdpo.records import (
    Candidate,
    Judgment,
    Pair,
    Prompt,
)
from iterdpo.settings import identity
from iterdpo.stages import names
from iterdpo.stages.base import Metrics
from iterdpo.store.atomic import write_text
from iterdpo.store.stage import Stored, Work
from iterdpo.store.tables import RECORDS_FILE, read_records, write_records

DROPPED_FILE = "dropped.json"


class PairingStage:
    """A stage whose result is a ``Pairing``."""

    name = names.PAIRS
    version = 1

    def keep(self, work: Work, made: Pairing) -> Metrics:
        """Write the pairs, and how many were dropped for which reason."""
        write_records(work.directory / RECORDS_FILE, Pair, made.kept)
        dropped = {reason.value: count for reason, count in made.dropped.items()}
        write_text(work.directory / DROPPED_FILE, json.dumps(dropped, sort_keys=True) + "\n")
        return {"kept": len(made.kept), "dropped": dropped}

    def load(self, directory: Path, *_: object, **__: object) -> Pairing:
        dropped = json.loads((directory / DROPPED_FILE).read_text("utf-8"))
        return Pairing(
            kept=tuple(read_records(directory / RECORDS_FILE, Pair)),
            dropped={DropReason(reason): count for reason, count in dropped.items()},
        )


@dataclass(frozen=True)
class BuildPairs(PairingStage):
    """Preference pairs from judged candidates, and why the others were dropped."""

    strategy: Strategy
    min_margin: float

    @property
    def settings(self) -> Mapping[str, object]:
        return {"strategy": identity(self.strategy), "min_margin": self.min_margin}

    def compute(
        self,
        work: Work,
        prompts: Stored[tuple[Prompt, ...]],
        candidates: Stored[tuple[Candidate, ...]],
        judgments: Stored[tuple[Judgment, ...]],
    ) -> Metrics:
        made = build_pairs(
            prompts.value, candidates.value, judgments.value, self.strategy, self.min_margin
        )
        return self.keep(work, made)
