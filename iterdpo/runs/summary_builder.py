"""A run's result is put together from its stages' results, model by model. Nothing is computed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from typing import Any, TypeVar

import iterdpo
from iterdpo.config.choices import as_values
from iterdpo.config.schema import Config
from iterdpo.engines.base import Engine
from iterdpo.engines.canary import CanaryResult
from iterdpo.evaluation.ratings import Rating
from iterdpo.evaluation.summary import (
    SUMMARY_VERSION,
    BaselineSummary,
    ComparisonSummary,
    EarlyStop,
    EngineSummary,
    IterationStages,
    IterationSummary,
    JudgmentCounts,
    ModelStages,
    ModelSummary,
    PairSummary,
    RunSummary,
    StageSeconds,
    StageUsage,
    Summary,
    TrainingSummary,
)
from iterdpo.records import Scored
from iterdpo.rounds import IterationResult, PolicyComparison, PolicyEvaluation, Round
from iterdpo.runs.stage_costs import RoundCosts
from iterdpo.stages import names
from iterdpo.stages.evaluate import measured_from
from iterdpo.store.hashing import sha256_of
from iterdpo.store.stage import Stored

Entry = TypeVar("Entry")


class SummaryBuilder:
    """A run's summary as it grows with every model.

    It holds what the engine showed and spent in all starts of the run, as far as they wrote it.
    """

    def __init__(self, config: Config, earlier: Summary | None = None) -> None:
        """Begin with no model.

        Args:
            config: of the run.
            earlier: the summary that the same run left when it was last started.
        """
        self.config = config
        self._earlier = earlier
        self._models: list[ModelSummary] = []
        self._iterations: list[IterationSummary] = []
        self._comparisons: list[ComparisonSummary] = []
        self._against_baselines: list[ComparisonSummary] = []
        self._measured: list[PolicyEvaluation] = []
        self._ratings: tuple[Rating, ...] = ()
        self._stopped: EarlyStop | None = None

    def add(self, done: Round, costs: RoundCosts) -> None:
        """Add a model and, unless it is M0, the iteration that made it."""
        measured, judge = done.measured, self.config.evaluation.arbiter
        self._measured.append(measured)
        self._models.append(self._model(done))
        if done.made is not None:
            made = iteration_summary(done.iteration, done.made, measured, costs)
            self._iterations.append(self._with_earlier_tokens(made))
        self._comparisons += comparison_summaries(measured, measured.comparisons, judge)
        self._against_baselines += comparison_summaries(measured, measured.against_baselines, judge)
        if measured.ratings is not None:
            self._ratings = measured.ratings.value
        if measured.stops and done.iteration < self.config.iterations:
            raised = ", ".join(alarm.name for alarm in measured.health.value.alarms)
            self._stopped = EarlyStop(
                done.iteration,
                f"stopped after iteration {done.iteration} of {self.config.iterations} by "
                f"health.on_alarm=stop ({raised})",
            )

    @property
    def behind(self) -> bool:
        """Whether the earlier summary has all models so far, and more."""
        before = [model.fingerprint for model in self._earlier.models] if self._earlier else []
        models = [model.fingerprint for model in self._models]
        return len(before) > len(models) and before[: len(models)] == models

    def summary(self, canaries: Mapping[str, CanaryResult], run: RunSummary) -> Summary:
        """Return the summary of the models so far.

        Args:
            canaries: of each policy that the engine applied in this start, by fingerprint.
            run: what identifies the run, and what this start took.
        """
        if self._earlier:
            known = {model.fingerprint for model in self._models}
            before = self._earlier.canaries.items()
            canaries = {name: found for name, found in before if name in known} | dict(canaries)
            run = replace(run, engine=_in_all(self._earlier.run.engine, run.engine))
        healths = [measured.health.value for measured in self._measured]
        return Summary(
            version=SUMMARY_VERSION,
            iterdpo=iterdpo.__version__,
            models=tuple(self._models),
            iterations=tuple(self._iterations),
            comparisons=tuple(self._comparisons),
            against_baselines=tuple(self._against_baselines),
            ratings=self._ratings,
            temperature_baselines=tuple(baseline_summaries(self._measured[0])),
            alarms=tuple(alarm for health in healths for alarm in health.alarms),
            best=healths[-1].best,
            stopped=self._stopped,
            canaries=dict(canaries),
            run=run,
        )

    def _with_earlier_tokens(self, made: IterationSummary) -> IterationSummary:
        """Return an iteration with what an earlier start wrote where this one only read."""
        for before in self._earlier.iterations if self._earlier else ():
            if before.stages.candidates == made.stages.candidates and not made.generated_tokens_new:
                return replace(made, generated_tokens_new=before.generated_tokens_new)
        return made

    def _model(self, done: Round) -> ModelSummary:
        policy, measured = done.policy.value, done.measured
        known = {entry.fingerprint: entry.name for entry in self._models}
        records = measured_from(done.evaluation)
        return ModelSummary(
            name=policy.name,
            iteration=done.iteration,
            fingerprint=policy.fingerprint,
            adapter_sha256=policy.adapter.sha256 if policy.adapter else None,
            parent=known.get(policy.parent or ""),
            checkpoint=policy.base.path,
            evaluation=done.evaluation.value,
            gains=measured.gains.value if measured.gains else None,
            agreement_with_previous=measured.agreement.value if measured.agreement else None,
            health=measured.health.value.metrics,
            stages=ModelStages(
                policy=address(done.policy),
                evaluation=address(done.evaluation),
                health=address(measured.health),
                **{name: address(stored) for name, stored in records.items()},
            ),
        )


def _in_all(before: EngineSummary, now: EngineSummary) -> EngineSummary:
    """Return what an engine spent in two starts of a run."""
    return replace(now, starts=before.starts + now.starts, usage=before.usage + now.usage)


def address(stored: Stored[Any]) -> str:
    """Return a stage's place below the store's root, ``<stage>/<key>``."""
    return f"{stored.stage.name}/{stored.key}"


def comparison_summaries(
    measured: PolicyEvaluation, comparisons: tuple[PolicyComparison, ...], judge: str
) -> Iterator[ComparisonSummary]:
    """Yield what came of a model against each of its opponents.

    Args:
        measured: the model.
        comparisons: those with its opponents.
        judge: who compared, as the configuration names it.
    """
    for item in comparisons:
        yield ComparisonSummary(
            model=measured.policy.value.name,
            opponent=item.opponent.policy.value.name,
            judge=judge,
            baseline=item.baseline,
            result=item.result.value,
            stage=address(item.comparisons),
        )


def baseline_summaries(initial: PolicyEvaluation) -> Iterator[BaselineSummary]:
    """Yield each temperature baseline of M0 that answered anything."""
    answers = dict(initial.baseline_answers)
    for result in initial.baselines.value if initial.baselines else ():
        yield BaselineSummary(result, address(answers[result.temperature]))


def iteration_summary(
    iteration: int, made: IterationResult, measured: PolicyEvaluation, costs: RoundCosts
) -> IterationSummary:
    """Return what one iteration made on the way to its policy."""
    judged = [item.verdict for item in made.judgments.value]
    scored = sum(isinstance(verdict, Scored) for verdict in judged)
    written: Any = made.candidates.metrics
    said: Any = made.judgments.metrics
    pairs = made.pairs.value
    assert measured.pair_quality is not None
    return IterationSummary(
        iteration=iteration,
        prompts=len(made.prompts.value),
        candidates=len(made.candidates.value),
        judgments=JudgmentCounts(scored, len(judged) - scored, said["unscored"]),
        pairs=PairSummary(
            kept=len(pairs.kept),
            dropped={reason.value: count for reason, count in pairs.dropped.items()},
            quality=measured.pair_quality.value,
        ),
        training=entry_of(TrainingSummary, made.trained.metrics) if made.trained else None,
        generated_tokens=written["generated_tokens"],
        # What this run wrote itself: none of a stage that it only read.
        generated_tokens_new=written["generated_tokens_new"] if made.candidates.computed else 0,
        usage={
            names.CANDIDATES: entry_of(StageUsage, written["engine"]),
            names.JUDGMENTS: entry_of(StageUsage, said["engine"]),
        },
        seconds=costs.seconds,
        peak_memory=costs.peak_memory,
        stages=IterationStages(
            prompts=address(made.prompts),
            candidates=address(made.candidates),
            judgments=address(made.judgments),
            pairs=address(made.pairs),
            adapter=address(made.trained) if made.trained else None,
        ),
    )


def run_summary(
    config: Config,
    engine: Engine,
    wall_seconds: float,
    stage_seconds: Mapping[str, float],
    versions: Mapping[str, str],
) -> RunSummary:
    """Return what identifies the run, what its engine did in it, and what it took.

    Args:
        config: of the run.
        engine: that it used.
        wall_seconds: since this process began the run.
        stage_seconds: that every stage took when it was computed, by ``<stage>/<key>``.
        versions: of the libraries.
    """
    return RunSummary(
        engine=EngineSummary(dict(engine.identity), engine.starts, engine.usage),
        seed=config.seed,
        config_sha256=sha256_of(as_values(config)),
        wall_seconds=round(wall_seconds, 1),
        stage_seconds=tuple(StageSeconds(*item) for item in stage_seconds.items()),
        versions=dict(versions),
    )


def entry_of(kind: type[Entry], metrics: Mapping[str, Any]) -> Entry:
    """Return those of a stage's metrics that are fields of the dataclass ``kind``."""
    return kind(**{item.name: metrics[item.name] for item in fields(kind)})  # type: ignore[arg-type]
