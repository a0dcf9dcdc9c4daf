"""A policy is measured: how well it answers, and how well it judges."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iterdpo.evaluation.report import Evaluation, evaluate
from iterdpo.evaluation.verifiers import Verifier
from iterdpo.records import Candidate, Judgment, Prompt
from iterdpo.settings import identity
from iterdpo.stages import names
from iterdpo.stages.base import Metrics
from iterdpo.store.atomic import write_text
from iterdpo.store.stage import Stored, Work

EVALUATION_FILE = "evaluation.json"


@dataclass(frozen=True)
class Measure:
    """What was measured of one policy on the held-out prompts and the labelled set."""

    oracle: Verifier | None
    scale: tuple[float, float] | None
    """The judge's lowest and highest score."""

    name = names.EVALUATION
    version = 3

    @property
    def settings(self) -> Mapping[str, object]:
        oracle = identity(self.oracle) if self.oracle else None
        return {"oracle": oracle, "scale": self.scale}

    def compute(
        self,
        work: Work,
        *,
        held_out: Stored[tuple[Prompt, ...]],
        sampled: Stored[tuple[Candidate, ...]],
        greedy: Stored[tuple[Candidate, ...]],
        own: Stored[tuple[Judgment, ...]],
        labelled: Stored[tuple[Prompt, ...]],
        fixed_answers: Stored[tuple[Candidate, ...]],
        fixed: Stored[tuple[Judgment, ...]],
    ) -> Metrics:
        evaluation = evaluate(
            held_out.value, sampled.value, greedy.value, own.value,
            labelled.value, fixed_answers.value, fixed.value, self.oracle, self.scale,
        )  # fmt: skip
        values = dataclasses.asdict(evaluation)
        write_text(
            work.directory / EVALUATION_FILE, json.dumps(values, indent=1, sort_keys=True) + "\n"
        )
        return {"n": len(held_out.value)}

    def load(self, directory: Path, **_: object) -> Evaluation:
        from pydantic import TypeAdapter

        return TypeAdapter(Evaluation).validate_json((directory / EVALUATION_FILE).read_bytes())


def measured_from(evaluation: Stored[Evaluation]) -> Mapping[str, Stored[Any]]:
    """Return what an evaluation was made from, by the names of ``Measure.compute``."""
    return evaluation.kwargs
