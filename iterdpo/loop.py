"""The algorithm: self-rewarding, iterative DPO (arXiv 2401.10020), on one screen.

M0 enters; in each round the current policy answers new prompts, a judge (itself, unless the recipe
names another) scores the answers, good and bad ones make preference pairs, and DPO turns the policy
into the next one. Every ``stages.run`` is computed once for its settings and parents, kept in the
store, and only read after that.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from iterdpo.evaluator import Evaluator
from iterdpo.rounds import IterationResult, Round

if TYPE_CHECKING:
    from iterdpo.recipe import Recipe
    from iterdpo.stages.base import Prompts
    from iterdpo.store.runner import Stages


def run(recipe: Recipe, iterations: int, stages: Stages) -> Iterator[Round]:
    """Yield M0 and then the policy of each iteration, as they are done.

    An alarm of ``health`` can end the run early, or send it back to its best policy so far.
    """
    base, initial = recipe.initialize(stages)
    policy = initial
    evaluate = Evaluator(recipe, stages, initial)
    yield Round(0, policy, evaluate(policy))

    earlier: tuple[Prompts, ...] = ()
    for t in range(1, iterations + 1):
        prompts = recipe.select_prompts(stages, t, initial, earlier)
        earlier += (prompts,)
        evaluate.require_held_out(prompts)
        candidates = stages.run(recipe.generate, prompts, policy)
        judge_policy = {"current": policy, "initial": initial}[recipe.judge_model]
        judgments = stages.run(recipe.judge, prompts, candidates, judge_policy)
        recipe.require_scored(t, judgments)
        pairs = stages.run(recipe.build_pairs, prompts, candidates, judgments)
        recipe.require_pairs(t, pairs, judgments)
        start, trained = policy, None
        if pairs.value.kept:
            reference = {"previous": policy, "initial": initial, "base": base}[recipe.reference]
            trained = stages.run(recipe.train, t, policy, reference, pairs, candidates)
            policy = trained
        made = IterationResult(start, prompts, candidates, judgments, pairs, trained)
        measured = evaluate(policy, made)
        yield Round(t, policy, measured, made)
        stages.forget()
        if measured.stops:
            return
        policy = measured.next_start
