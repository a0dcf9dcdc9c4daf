"""The algorithm: self-rewarding, iterative DPO (arXiv 2401.10020), on one screen.

M0 enters; in each round the current policy answers new prompts, a judge (itself, unless told
otherwise) scores the answers, good and bad ones make preference pairs, and DPO turns the policy
into the next one. Every ``stages.run`` is computed once for its settings and parents, kept in the
store, and only read when it is asked for again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from iterdpo.prompts.base import assert_held_out

if TYPE_CHECKING:
    from iterdpo.evaluation.report import Evaluation
    from iterdpo.pairing.base import Pairing
    from iterdpo.recipe import Recipe
    from iterdpo.records import Candidate, Judgment, Policy, Prompt
    from iterdpo.store.stages import Stages, Stored


@dataclass(frozen=True)
class Made:
    """What one iteration made, on the way from one policy to the next."""

    prompts: Stored[tuple[Prompt, ...]]
    candidates: Stored[tuple[Candidate, ...]]
    judgments: Stored[tuple[Judgment, ...]]
    pairs: Stored[Pairing]
    trained: Stored[Policy] | None
    """None where no pair was left and the policy stayed as it was."""


@dataclass(frozen=True)
class Round:
    """A policy and what was measured of it. Round 0 is M0, which nothing here made."""

    iteration: int
    policy: Stored[Policy]
    evaluation: Stored[Evaluation]
    made: Made | None = None


def run(recipe: Recipe, iterations: int, stages: Stages) -> Iterator[Round]:
    """Yield M0 and then the policy of each iteration, as they are done."""
    base = stages.run(recipe.base)
    policy = initial = base
    evaluate = Evaluator(recipe, stages, initial)
    yield Round(0, policy, evaluate(policy))

    for t in range(1, iterations + 1):
        prompts = stages.run(recipe.select, t)
        evaluate.require_held_out(prompts)
        candidates = stages.run(recipe.generate, prompts, policy)
        judge_policy = {"current": policy, "initial": initial}[recipe.judge_model]
        judgments = stages.run(recipe.judge, prompts, candidates, judge_policy)
        recipe.require_scored(t, judgments)
        pairs = stages.run(recipe.build_pairs, prompts, candidates, judgments)
        recipe.require_pairs(t, pairs, judgments)
        trained = None
        if pairs.value.kept:
            reference = {"previous": policy, "initial": initial, "base": base}[recipe.reference]
            trained = stages.run(recipe.train, t, policy, reference, pairs, candidates)
            policy = trained
        made = Made(prompts, candidates, judgments, pairs, trained)
        yield Round(t, policy, evaluate(policy), made)


class Evaluator:
    """Measures a policy on prompts that never enter training, the same ones every time."""

    def __init__(self, recipe: Recipe, stages: Stages, initial: Stored[Policy]) -> None:
        self.recipe, self.stages = recipe, stages
        self.held_out = stages.run(recipe.held_out)
        self.labelled = stages.run(recipe.labelled)
        self.fixed_answers = stages.run(recipe.answer_fixed, self.labelled, initial)

    def require_held_out(self, prompts: Stored[tuple[Prompt, ...]]) -> None:
        """Raise ``UserError`` when a prompt of the loop is one that policies are measured on."""
        assert_held_out(prompts.value, [*self.held_out.value, *self.labelled.value])

    def __call__(self, policy: Stored[Policy]) -> Stored[Evaluation]:
        recipe, stages = self.recipe, self.stages
        sampled = stages.run(recipe.answer, self.held_out, policy)
        greedy = stages.run(recipe.answer_greedily, self.held_out, policy)
        own = stages.run(recipe.judge_measured, self.held_out, sampled, policy)
        fixed = stages.run(recipe.judge_measured, self.labelled, self.fixed_answers, policy)
        return stages.run(
            recipe.measure, self.held_out, sampled, greedy, own,
            self.labelled, self.fixed_answers, fixed,
        )  # fmt: skip
