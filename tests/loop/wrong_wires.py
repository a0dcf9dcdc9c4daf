"""Wrong wires between stages, each refused by the type checker.

Nothing here runs. ``warn_unused_ignores`` makes an error of every comment below that silences
nothing, so mypy fails if one of these calls is ever let through.
"""

from __future__ import annotations

from iterdpo.recipe import Recipe
from iterdpo.records import Policy
from iterdpo.stages.base import Candidates, Judgments, Pairs, Prompts
from iterdpo.store.runner import Stages
from iterdpo.store.stage import Stored


def wrong_wires(
    recipe: Recipe,
    stages: Stages,
    prompts: Prompts,
    candidates: Candidates,
    judgments: Judgments,
    pairs: Pairs,
    policy: Stored[Policy],
) -> Prompts:
    stages.run(recipe.base, policy)  # type: ignore[call-arg]
    stages.run(recipe.generate, prompts)  # type: ignore[call-arg]
    stages.run(recipe.generate, policy, prompts)  # type: ignore[arg-type]
    stages.run(recipe.judge, prompts, judgments, policy)  # type: ignore[arg-type]
    stages.run(recipe.build_pairs, prompts, judgments, candidates)  # type: ignore[arg-type]
    stages.run(recipe.train, 1, policy, policy, candidates, pairs)  # type: ignore[arg-type]
    stages.run(recipe.train, policy, policy, pairs, candidates)  # type: ignore[arg-type, call-arg]
    stages.run(recipe.check, 0, policy)  # type: ignore[call-arg]
    stages.run(
        recipe.evaluate,
        held_out=prompts,
        sampled=candidates,
        greedy=candidates,
        own_judgments=candidates,  # type: ignore[arg-type]
        reference_prompts=prompts,
        reference_answers=candidates,
        reference_judgments=judgments,
    )
    return stages.run(recipe.generate, prompts, policy)  # type: ignore[arg-type]
