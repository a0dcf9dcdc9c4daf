"""Measures every policy of a run on prompts that never enter training, the same ones every time.

What is measured decides nothing about a training. It can end a run or send it back to the best
model so far, where ``health.on_alarm`` says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iterdpo.prompts.base import assert_held_out
from iterdpo.rounds import BaselineComparison, PolicyEvaluation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iterdpo.evaluation.report import Evaluation
    from iterdpo.recipe import Recipe
    from iterdpo.records import Policy
    from iterdpo.rounds import IterationResult
    from iterdpo.stages.base import Candidates, Comparisons, Prompts
    from iterdpo.stages.health import Health
    from iterdpo.store.runner import Stages
    from iterdpo.store.stage import Stored


class Evaluator:
    """Measures one policy after the other, M0 first."""

    def __init__(self, recipe: Recipe, stages: Stages, initial: Stored[Policy]) -> None:
        self.recipe, self.stages, self.initial = recipe, stages, initial
        self.held_out = stages.run(recipe.held_out)
        self.labelled = stages.run(recipe.labelled)
        self.fixed_answers = stages.run(recipe.answer_fixed, self.labelled, initial)
        self.measured: list[PolicyEvaluation] = []

    def require_held_out(self, prompts: Prompts) -> None:
        """Raise ``UserError`` when a prompt of the loop is one that policies are measured on."""
        assert_held_out(prompts.value, [*self.held_out.value, *self.labelled.value])

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
        # A judge that is no policy is always given M0: it says the same of the fixed set, once.
        judge = policy if recipe.judge_measured.asks_policy else self.initial
        own = stages.run(recipe.judge_measured, self.held_out, sampled, judge)
        fixed = stages.run(recipe.judge_measured, self.labelled, self.fixed_answers, judge)
        evaluation = stages.run(
            recipe.measure,
            held_out=self.held_out,
            sampled=sampled,
            greedy=greedy,
            own=own,
            labelled=self.labelled,
            fixed_answers=self.fixed_answers,
            fixed=fixed,
        )
        parent = self._of(made.start) if made else None
        comparisons, against = self._compare(sampled, greedy, parent)
        health = self._check(policy, evaluation, comparisons, parent, made)
        action = recipe.on_alarm if health.value.alarms else "warn"
        measured = PolicyEvaluation(
            policy=policy,
            sampled=sampled,
            greedy=greedy,
            fixed=fixed,
            evaluation=evaluation,
            comparisons=comparisons,
            health=health,
            parent=parent,
            stops=action == "stop",
            next_start=self._best(health, policy) if action == "keep_best" else policy,
            baselines=self._baselines() if made is None else (),
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

    def _compare(
        self, sampled: Candidates, greedy: Candidates, parent: PolicyEvaluation | None
    ) -> tuple[tuple[tuple[PolicyEvaluation, Comparisons], ...], tuple[BaselineComparison, ...]]:
        compare = self.recipe.compare
        if compare is None or parent is None or parent.sampled.key == sampled.key:
            return (), ()
        judge = self.initial if self.recipe.arbiter == "initial" else None
        first = self.measured[0]
        found, against = [], []
        try:
            for opponent in (parent,) if parent is first else (parent, first):
                stored = self.stages.run(compare, self.held_out, sampled, opponent.sampled, judge)
                found.append((opponent, stored))
            for baseline, own, theirs in self._sharp(sampled, greedy):
                stored = self.stages.run(compare, self.held_out, own, theirs, judge)
                against.append(BaselineComparison(baseline, own, theirs, stored))
        finally:
            self.recipe.close_arbiter()
        return tuple(found), tuple(against)

    def _sharp(
        self, sampled: Candidates, greedy: Candidates
    ) -> Iterator[tuple[str, Candidates, Candidates]]:
        """Yield each baseline's name, and which of a policy's answers meet which of M0's.

        An oracle needs none of this: it scores the baselines.
        """
        first = self.measured[0]
        if self.recipe.arbiter == "oracle" or not first.baselines:
            return
        for temperature, answers in first.baselines:
            yield f"temperature {temperature:g}", sampled, answers
        yield "greedy", greedy, first.greedy

    def _check(
        self,
        policy: Stored[Policy],
        evaluation: Stored[Evaluation],
        comparisons: tuple[tuple[PolicyEvaluation, Comparisons], ...],
        parent: PolicyEvaluation | None,
        made: IterationResult | None,
    ) -> Stored[Health]:
        against = {opponent.policy.key: stored for opponent, stored in comparisons}
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

    def _baselines(self) -> tuple[tuple[float, Candidates], ...]:
        return tuple(
            (stage.sampling.temperature, self.stages.run(stage, self.held_out, self.initial))
            for stage in self.recipe.baselines
        )
