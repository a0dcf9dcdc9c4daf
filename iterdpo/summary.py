"""``summary.json``: a run's result for machines. Every number is read from a stored stage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from iterdpo.config.schema import Config
from iterdpo.engines.base import Engine
from iterdpo.engines.verified import CanaryResult
from iterdpo.evaluation.oracles import Oracle
from iterdpo.evaluation.pairs import label_accuracy, length_ratio, margin_mean
from iterdpo.loop import Made, Round
from iterdpo.records import Scored, Unscored
from iterdpo.steps.measuring import measured_from
from iterdpo.store.hashing import plain, sha256_of
from iterdpo.store.stages import Stored


def model_entry(done: Round, earlier: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what is said of one policy: who it is and how it was measured.

    Args:
        done: the policy's round.
        earlier: the entries of the policies before, to name the parent by.
    """
    policy, evaluation = done.policy.value, done.evaluation.value
    names = {entry["fingerprint"]: entry["name"] for entry in earlier}
    return {
        "name": policy.name,
        "iteration": done.iteration,
        "fingerprint": policy.fingerprint,
        "adapter_sha256": policy.adapter.sha256 if policy.adapter else None,
        "parent": names.get(policy.parent),
        "quality": plain(evaluation.quality),
        "judge": plain(evaluation.judge),
        "judged_mean": evaluation.judged_mean,
        "response_tokens": evaluation.response_tokens,
        "checkpoint": policy.base.path,
        "stages": {
            "policy": address(done.policy),
            "evaluation": address(done.evaluation),
            **{name: address(stored) for name, stored in measured_from(done.evaluation).items()},
        },
    }


def address(stored: Stored[Any]) -> str:
    """Return a stage's place below the store's root, ``<stage>/<key>``."""
    return f"{stored.stage.name}/{stored.key}"


def iteration_entry(iteration: int, made: Made, oracle: Oracle | None) -> dict[str, Any]:
    """Return what one iteration made on the way to its policy."""
    prompts, candidates = made.prompts.value, made.candidates.value
    pairs = made.pairs.value
    texts = {prompt.id: prompt.text for prompt in prompts}
    tokens = {item.id: len(item.token_ids) for item in candidates}
    accuracy = None
    if oracle is not None:
        gold = {item.id: oracle.score(texts[item.prompt_id], item.text) for item in candidates}
        accuracy = label_accuracy(pairs.kept, gold)
    judged = [item.verdict for item in made.judgments.value]
    return {
        "iteration": iteration,
        "prompts": len(prompts),
        "candidates": len(candidates),
        "judgments": {
            "scored": sum(isinstance(verdict, Scored) for verdict in judged),
            "unscored": sum(isinstance(verdict, Unscored) for verdict in judged),
            "reasons": made.judgments.metrics["unscored"],
        },
        "pairs": {
            "kept": len(pairs.kept),
            "dropped": {reason.value: count for reason, count in pairs.dropped.items()},
            "label_accuracy": accuracy,
            "margin_mean": margin_mean(pairs.kept),
            "length_ratio": length_ratio(pairs.kept, tokens),
        },
        "training": made.trained.metrics if made.trained else None,
        "stages": {
            "prompts": address(made.prompts),
            "candidates": address(made.candidates),
            "judgments": address(made.judgments),
            "pairs": address(made.pairs),
            "adapter": address(made.trained) if made.trained else None,
        },
        "generated_tokens": made.candidates.metrics["generated_tokens"],
        # What this run wrote itself: none of a stage that it only read.
        "generated_tokens_new": (
            made.candidates.metrics["generated_tokens_new"] if made.candidates.computed else 0
        ),
        "usage": {
            "candidates": made.candidates.metrics["engine"],
            "judgments": made.judgments.metrics["engine"],
        },
    }


def canaries(results: Mapping[str, CanaryResult]) -> dict[str, Any]:
    """Return the canary of each policy that the engine applied, by fingerprint."""
    return {fingerprint: plain(result) for fingerprint, result in results.items()}


def run_entry(
    config: Config, engine: Engine, wall_seconds: float, versions: Mapping[str, str]
) -> dict[str, Any]:
    """Return what identifies the run, and what its engine did in it."""
    return {
        "engine": {**engine.identity, "starts": engine.starts, **asdict(engine.usage)},
        "seed": config.seed,
        "config_sha256": sha256_of(plain(config)),
        "wall_seconds": round(wall_seconds, 1),
        "versions": dict(versions),
    }


def metrics(result: Mapping[str, Any], iteration: int) -> dict[str, float | int]:
    """Return the numbers of one iteration, flat, as trackers want them: ``pairs/kept``."""
    model = result["models"][iteration]
    values = {key: model[key] for key in ("quality", "judge", "response_tokens")}
    if iteration:
        made = dict(result["iterations"][iteration - 1])
        del made["iteration"]
        values |= made
    return dict(_flat(values))


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float | int]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}/")
        elif isinstance(value, int | float):
            yield f"{prefix}{name}", value
