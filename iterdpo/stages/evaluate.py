"""A policy is measured: how well it answers, and how well it judges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from iterdpo.evaluation.report import Evaluation, evaluate
from iterdpo.evaluation.resampling import RESAMPLES, SEED
from iterdpo.records import Candidate, Judgment, Prompt
from iterdpo.settings import identity
from iterdpo.stages import names
from iterdpo.stages.base import Metrics, ValueStage
from iterdpo.store.stage import Stored, Work
from iterdpo.verifiers.base import Verifier


@dataclass(frozen=True)
class EvaluatePolicy(ValueStage[Evaluation]):
    """What was measured of one policy on the held-out prompts and the judge reference set."""

    oracle: Verifier | None
    scale: tuple[float, float] | None
    """The judge's lowest and highest score."""

    name = names.EVALUATION
    kind = Evaluation
    version = 4

    @property
    def settings(self) -> Mapping[str, object]:
        oracle = identity(self.oracle) if self.oracle else None
        draws = {"resamples": RESAMPLES, "seed": SEED}
        return {"oracle": oracle, "scale": self.scale, **draws}

    def compute(
        self,
        work: Work,
        *,
        held_out: Stored[tuple[Prompt, ...]],
        sampled: Stored[tuple[Candidate, ...]],
        greedy: Stored[tuple[Candidate, ...]],
        own_judgments: Stored[tuple[Judgment, ...]],
        reference_prompts: Stored[tuple[Prompt, ...]],
        reference_answers: Stored[tuple[Candidate, ...]],
        reference_judgments: Stored[tuple[Judgment, ...]],
    ) -> Metrics:
        measured = evaluate(
            held_out.value, sampled.value, greedy.value, own_judgments.value,
            reference_prompts.value, reference_answers.value, reference_judgments.value,
            self.oracle, self.scale,
        )  # fmt: skip
        self.keep(work, measured)
        return {"n": len(held_out.value)}


def measured_from(evaluation: Stored[Evaluation]) -> Mapping[str, Stored[Any]]:
    """Return what an evaluation was made from, by the names of ``EvaluatePolicy.compute``."""
    return evaluation.kwargs
