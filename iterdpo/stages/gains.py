"""A model is measured against those before it: what its answers and its judgments have changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from iterdpo.evaluation.baselines import TemperatureBaseline, strongest, temperature_baselines
from iterdpo.evaluation.gains import Gains, gains
from iterdpo.evaluation.judge_quality import agreement
from iterdpo.evaluation.oracles import OracleScore
from iterdpo.evaluation.report import Evaluation, scores_by_prompt
from iterdpo.evaluation.statistics import Estimate, ends
from iterdpo.stages import names
from iterdpo.stages.base import Candidates, Judgments, Metrics, ValueStage
from iterdpo.stages.oracle_scores import by_prompt
from iterdpo.store.stage import Stored, Work


@dataclass(frozen=True)
class MeasureBaselines(ValueStage[tuple[TemperatureBaseline, ...]]):
    """M0 at lower temperatures, by the oracle."""

    name = names.BASELINES
    kind = tuple[TemperatureBaseline, ...]

    @property
    def settings(self) -> Mapping[str, object]:
        return {}

    def compute(
        self,
        work: Work,
        scored: Sequence[tuple[float, Candidates, Stored[tuple[OracleScore, ...]]]],
    ) -> Metrics:
        """Measure every baseline.

        Args:
            work: where the result goes.
            scored: of each its temperature, M0's answers at it, and the oracle's scores of these.
        """
        answered = [
            (temperature, answers.value, by_prompt(scores.value))
            for temperature, answers, scores in scored
        ]
        return {"baselines": len(self.keep(work, temperature_baselines(answered)))}


@dataclass(frozen=True)
class MeasureGains(ValueStage[Gains]):
    """What a model gained over its parent, M0, and M0 at its best lower temperature."""

    name = names.GAINS
    kind = Gains

    @property
    def settings(self) -> Mapping[str, object]:
        return {}

    def compute(
        self,
        work: Work,
        evaluation: Stored[Evaluation],
        previous: Stored[Evaluation],
        initial: Stored[Evaluation],
        baselines: Stored[tuple[TemperatureBaseline, ...]] | None,
    ) -> Metrics:
        own, before, first = (
            stored.value.sampled_by_prompt for stored in (evaluation, previous, initial)
        )
        top = strongest(baselines.value) if baselines else None
        self.keep(work, gains(own, before, first, top.scores_by_prompt if top else {}))
        return {"prompts": len(own)}


@dataclass(frozen=True)
class MeasureAgreement(ValueStage[Estimate | None]):
    """How alike two judges rank the judge reference set."""

    name = names.JUDGE_AGREEMENT
    kind = Estimate | None

    @property
    def settings(self) -> Mapping[str, object]:
        return {}

    def compute(
        self,
        work: Work,
        judgments: Judgments,
        previous: Judgments,
    ) -> Metrics:
        """Compare a judge's judgments with those of the judge before, of the same answers."""
        own, before = scores_by_prompt(judgments.value), scores_by_prompt(previous.value)
        alike = agreement(own, before)
        if alike is not None:
            low, high = ends(alike, within=(-1.0, 1.0))
            alike = replace(alike, low=low, high=high)
        self.keep(work, alike)
        return {"prompts": alike.clusters if alike else 0}
