"""Measures every policy of a run on prompts that never enter training, the same ones every time.

What is measured decides nothing about a training. It can end a run or send it back to the best
model so far, where ``health.on_alarm`` says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iterdpo.prompts.base import assert_held_out
from iterdpo.rounds import PolicyComparison, PolicyEvaluation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iterdpo.evaluation.baselines import TemperatureBaseline
    from iterdpo.evaluation.gains import Gains
    from iterdpo.evaluation.health import Health
    from iterdpo.evaluation.pairs import PairQuality
    from iterdpo.evaluation.report import Evaluation
    from iterdpo.evaluation.statistics import Estimate
    from iterdpo.recipe import Recipe
    from iterdpo.records import Policy
    from iterdpo.rounds import IterationResult
    from iterdpo.stages.base import Candidates, Comparisons, Judgments, Prompts
    from iterdpo.store.runner import Stages
from iterdpo.store.stage import Stored


class Evaluator:
    """Measures one policy after the other, M0 first."""

    def __init__(self, recipe: Recipe, stages: Stages, initial: Stored[Policy]) -> None:
        self.recipe, self.stages, self.initial = recipe, stages, initial
        self.held_out = stages.run(recipe.held_out)
        self.reference_prompts = stages.run(recipe.reference_prompts)
        # Before anything is answered: an answer is a costly way to find out.
        recipe.require_known([*self.held_out.value, *self.reference_prompts.value])
        self.reference_answers = stages.run(
            recipe.answer_reference, self.reference_prompts, initial
        )
        self.measured: list[PolicyEvaluation] = []
        self.matches: tuple[tuple[Stored[Policy], Stored[Policy], Comparisons], ...] = ()
        """For each two policies that met: the one, its opponent, and their comparisons."""
        self.baseline_answers: tuple[tuple[float, Candidates], ...] = ()
        self.baselines: Stored[tuple[TemperatureBaseline, ...]] | None = None

    def require_held_out(self, prompts: Prompts) -> None:
        """Raise ``UserError`` when a prompt of the loop is one that policies are measured on."""
        assert_held_out(prompts.value, [*self.held_out.value, *self.reference_prompts.value])

    def __call__(
        self, policy: Stored[Policy], made: IterationResult | None = None
    ) -> PolicyEvaluation:
        """Measure a policy.

        Args:
            policy: the policy.
            made: what the iteration made on the way to it; None for M0.
        """
        recipe, stages = self.recipe, self.stages
        sampled = stages.run(recipe.answer, self.held_out, policy)
        greedy = stages.run(recipe.answer_greedily, self.held_out, policy)
        # A judge that is no policy is always given M0: it judges the reference set once.
        judge = policy if recipe.judge_measured.asks_policy else self.initial
        own = stages.run(recipe.judge_measured, self.held_out, sampled, judge)
        reference_judgments = stages.run(
            recipe.judge_measured, self.reference_prompts, self.reference_answers, judge
        )
        evaluation = stages.run(
            recipe.evaluate,
            held_out=self.held_out,
            sampled=sampled,
            greedy=greedy,
            own_judgments=own,
            reference_prompts=self.reference_prompts,
            reference_answers=self.reference_answers,
            reference_judgments=reference_judgments,
        )
        parent = self._of(made.start) if made else None
        comparisons, against = self._compare(policy, sampled, greedy, parent)
        health = self._check(policy, evaluation, comparisons, parent, made)
        action = recipe.on_alarm if health.value.alarms else "warn"
        if made is None:
            self._answer_baselines()
        measured = PolicyEvaluation(
            policy=policy,
            sampled=sampled,
            greedy=greedy,
            reference_judgments=reference_judgments,
            evaluation=evaluation,
            pair_quality=self._measure_pairs(made) if made else None,
            gains=self._gains(evaluation, parent),
            agreement=self._agreement(reference_judgments, parent),
            comparisons=comparisons,
            ratings=stages.run(recipe.rate, self.initial, self.matches) if self.matches else None,
            health=health,
            parent=parent,
            stops=action == "stop",
            next_start=self._best(health, policy) if action == "keep_best" else policy,
            baseline_answers=self.baseline_answers if made is None else (),
            baselines=self.baselines if made is None else None,
            against_baselines=against,
        )
        self.measured.append(measured)
        return measured

    def _best(self, health: Stored[Health], newest: Stored[Policy]) -> Stored[Policy]:
        best = health.value.best.model
        earlier = (item.policy for item in self.measured if item.policy.value.name == best)
        return next(earlier, newest)

    def _of(self, policy: Stored[Policy]) -> PolicyEvaluation:
        return next(item for item in self.measured if item.policy.key == policy.key)

    def _measure_pairs(self, made: IterationResult) -> Stored[PairQuality]:
        score, stages = self.recipe.score, self.stages
        scores = stages.run(score, made.prompts, made.candidates) if score else None
        return stages.run(self.recipe.measure_pairs, made.pairs, made.candidates, scores)

    def _answer_baselines(self) -> None:
        """Let M0 answer at lower temperatures, and score what it says."""
        recipe, stages = self.recipe, self.stages
        self.baseline_answers = tuple(
            (stage.sampling.temperature, stages.run(stage, self.held_out, self.initial))
            for stage in recipe.baselines
        )
        if recipe.score and self.baseline_answers:
            scored = [
                (temperature, answers, stages.run(recipe.score, self.held_out, answers))
                for temperature, answers in self.baseline_answers
            ]
            self.baselines = stages.run(recipe.measure_baselines, scored)

    def _gains(
        self, evaluation: Stored[Evaluation], parent: PolicyEvaluation | None
    ) -> Stored[Gains] | None:
        if self.recipe.score is None or parent is None:
            return None
        before, first = parent.evaluation, self.measured[0].evaluation
        return self.stages.run(self.recipe.measure_gains, evaluation, before, first, self.baselines)

    def _agreement(
        self, judgments: Judgments, parent: PolicyEvaluation | None
    ) -> Stored[Estimate | None] | None:
        if parent is None or parent.reference_judgments.key == judgments.key:
            return None
        before = parent.reference_judgments
        return self.stages.run(self.recipe.measure_agreement, judgments, before)

    def _compare(
        self,
        policy: Stored[Policy],
        sampled: Candidates,
        greedy: Candidates,
        parent: PolicyEvaluation | None,
    ) -> tuple[tuple[PolicyComparison, ...], tuple[PolicyComparison, ...]]:
        """Return a policy's comparisons with its opponents, and with M0's baselines."""
        compare, first = self.recipe.compare, self.measured[0] if self.measured else None
        if compare is None or first is None or parent is None or parent.sampled.key == sampled.key:
            return (), ()
        judge = self.initial if self.recipe.arbiter == "initial" else None

        def met(
            opponent: PolicyEvaluation,
            own: Candidates,
            theirs: Candidates,
            baseline: str | None = None,
        ) -> PolicyComparison:
            said = self.stages.run(compare, self.held_out, own, theirs, judge)
            counted = self.stages.run(self.recipe.count_comparisons, said, own, theirs)
            return PolicyComparison(opponent, said, counted, baseline)

        try:
            opponents = (parent,) if parent is first else (parent, first)
            found = [met(opponent, sampled, opponent.sampled) for opponent in opponents]
            against = [met(first, *these) for these in self._sharp(sampled, greedy)]
        finally:
            self.recipe.close_arbiter()
        for item in found:
            self.matches += ((policy, item.opponent.policy, item.comparisons),)
        return tuple(found), tuple(against)

    def _sharp(
        self, sampled: Candidates, greedy: Candidates
    ) -> Iterator[tuple[Candidates, Candidates, str]]:
        """Yield which of a policy's answers meet which of M0's, and each baseline's name.

        An oracle needs none of this: it scores the baselines.
        """
        if self.recipe.arbiter == "oracle" or not self.baseline_answers:
            return
        for temperature, answers in self.baseline_answers:
            yield sampled, answers, f"temperature {temperature:g}"
        yield greedy, self.measured[0].greedy, "greedy"

    def _check(
        self,
        policy: Stored[Policy],
        evaluation: Stored[Evaluation],
        comparisons: tuple[PolicyComparison, ...],
        parent: PolicyEvaluation | None,
        made: IterationResult | None,
    ) -> Stored[Health]:
        against = {item.opponent.policy.key: item.comparisons for item in comparisons}
        return self.stages.run(
            self.recipe.check,
            iteration=len(self.measured),
            policy=policy,
            evaluation=evaluation,
            to_initial=against.get(self.initial.key),
            to_parent=against.get(parent.policy.key) if parent else None,
            parent=parent.policy if parent else None,
            candidates=made.candidates if made else None,
            judgments=made.judgments if made else None,
            pairs=made.pairs if made else None,
            trained=made.trained if made else None,
            before=self.measured[-1].health if self.measured else None,
        )
