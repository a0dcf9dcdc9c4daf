"""``summary.json``: a run's result for machines. Every number is read from a stored stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from iterdpo.config.choices import as_values
from iterdpo.config.schema import Config
from iterdpo.engines.base import Engine
from iterdpo.engines.verified import CanaryResult
from iterdpo.evaluation.best import gain
from iterdpo.evaluation.judge_quality import agreement
from iterdpo.evaluation.pairs import label_accuracy, length_ratio, margin_mean
from iterdpo.evaluation.report import scores_by_prompt
from iterdpo.evaluation.statistics import ends
from iterdpo.evaluation.verifiers import Verifier, score_answer
from iterdpo.records import Scored, Unscored
from iterdpo.rounds import IterationResult, PolicyEvaluation, Round
from iterdpo.runs.comparisons import (
    TemperatureBaseline,
    address,
    comparison_entries,
    control_comparison_entries,
    control_entries,
    controls_of,
    rating_entries,
    strongest,
)
from iterdpo.stages.evaluate import measured_from
from iterdpo.store.hashing import plain, sha256_of


class Summary:
    """What ``summary.json`` holds, as it grows with every model."""

    def __init__(self, config: Config, oracle: Verifier | None) -> None:
        self.config, self.oracle = config, oracle
        self.measured: list[PolicyEvaluation] = []
        self.control: TemperatureBaseline | None = None
        """The strongest of M0 at lower temperatures."""
        self.values: dict[str, Any] = {
            "models": [], "iterations": [], "comparisons": [], "ratings": [], "controls": [],
            "against_controls": [], "alarms": [], "best": None, "stopped": None, "canaries": {},
            "run": {},
        }  # fmt: skip

    def add(self, done: Round, costs: Mapping[str, Any]) -> None:
        """Add a model and, unless it is M0, the iteration that made it.

        Args:
            done: the model's round.
            costs: ``seconds`` and ``peak_memory`` of its stages.
        """
        values, measured = self.values, done.measured
        self.measured.append(measured)
        if done.made is None:
            controls = controls_of(measured, self.oracle)
            values["controls"] = control_entries(measured.policy.value.name, controls)
            self.control = strongest(controls)
        entry = model_entry(done, values["models"], self.measured[0], self.control)
        values["models"].append(entry)
        if done.made is not None:
            entry = iteration_entry(done.iteration, done.made, self.oracle)
            values["iterations"].append(entry | dict(costs))
        arbiter = self.config.evaluation.arbiter
        values["comparisons"] += comparison_entries(measured, arbiter)
        values["against_controls"] += control_comparison_entries(
            self.measured[0], measured, arbiter
        )
        values["ratings"] = rating_entries(self.measured)
        health = measured.health.value
        values["alarms"] += [asdict(alarm) for alarm in health.alarms]
        values["best"] = asdict(health.best)
        if measured.stops and done.iteration < self.config.iterations:
            names = ", ".join(alarm.name for alarm in health.alarms)
            values["stopped"] = {
                "iteration": done.iteration,
                "message": f"stopped after iteration {done.iteration} of {self.config.iterations} "
                f"by health.on_alarm=stop ({names})",
            }


def model_entry(
    done: Round,
    earlier: Sequence[Mapping[str, Any]],
    initial: PolicyEvaluation,
    control: TemperatureBaseline | None,
) -> dict[str, Any]:
    """Return what is said of one policy: who it is and how it was measured.

    Args:
        done: the policy's round.
        earlier: the entries of the policies before, to name the parent by.
        initial: M0, to measure the gain from.
        control: M0 at its best lower temperature, likewise.
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
        "gain": gain_entry(done.measured, initial, control),
        "best_of": plain(evaluation.best_of) or None,
        "judge": judge_entry(done.measured),
        "judged_mean": evaluation.judged_mean,
        "judged_mean_ci95": plain(evaluation.judged_mean_ci95),
        "response_tokens": evaluation.response_tokens,
        "truncated_share": evaluation.truncated_share,
        "duplicate_share": evaluation.duplicate_share,
        "checkpoint": policy.base.path,
        "stages": {
            "policy": address(done.policy),
            "evaluation": address(done.evaluation),
            **{name: address(stored) for name, stored in measured_from(done.evaluation).items()},
            "health": address(done.measured.health),
        },
    }


def gain_entry(
    measured: PolicyEvaluation, initial: PolicyEvaluation, control: TemperatureBaseline | None
) -> dict[str, Any] | None:
    """Return a model's gains in the oracle's points, paired by prompt; None for M0.

    ``over_previous`` is over the policy that its iteration started from, ``over_control`` over the
    strongest control.
    """
    parent, own = measured.parent, measured.evaluation.value.sampled_by_prompt
    if parent is None or not own:
        return None
    others = {
        "over_previous": parent.evaluation.value.sampled_by_prompt,
        "over_initial": initial.evaluation.value.sampled_by_prompt,
        "over_control": control.scores if control else {},
    }
    return {name: plain(gain(own, other)) for name, other in others.items()}


def judge_entry(measured: PolicyEvaluation) -> dict[str, Any]:
    """Return what a model is like as a judge, and how alike it and the one before it rank the fixed
    set. M0 has none before it, and a judge that is no policy, whose judgments of the fixed set are
    made once, has none beside itself: there is nothing to agree with.
    """
    judge = measured.evaluation.value.judge
    alike, parent = None, measured.parent
    if parent is not None and parent.fixed.key != measured.fixed.key:
        own, before = measured.fixed.value, parent.fixed.value
        alike = agreement(scores_by_prompt(own), scores_by_prompt(before))
    entry = plain(judge)
    assert isinstance(entry, dict)
    intervals = {**judge.ci95}
    if alike:
        intervals["agreement_with_previous"] = ends(alike, within=(-1.0, 1.0))
    return {
        **entry,
        "agreement_with_previous": alike.mean if alike else None,
        "ci95": plain(intervals),
    }


def iteration_entry(
    iteration: int, made: IterationResult, oracle: Verifier | None
) -> dict[str, Any]:
    """Return what one iteration made on the way to its policy."""
    prompts, candidates = made.prompts.value, made.candidates.value
    pairs = made.pairs.value
    tokens = {item.id: len(item.token_ids) for item in candidates}
    accuracy = None
    if oracle is not None:
        known = {prompt.id: prompt for prompt in prompts if oracle.knows(prompt)}
        gold = {
            item.id: score_answer(oracle, known[item.prompt_id], item.text)
            for item in candidates
            if item.prompt_id in known
        }
        accuracy = label_accuracy([pair for pair in pairs.kept if pair.prompt_id in known], gold)
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
            "label_accuracy": accuracy.mean if accuracy else None,
            "label_accuracy_ci95": plain(ends(accuracy)) if accuracy else None,
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
    config: Config,
    engine: Engine,
    wall_seconds: float,
    stage_seconds: Mapping[str, float],
    versions: Mapping[str, str],
) -> dict[str, Any]:
    """Return what identifies the run, what its engine did in it, and what it took.

    Args:
        config: of the run.
        engine: that it used.
        wall_seconds: since this process began the run: little where the store had the results.
        stage_seconds: that every stage took when it was computed, by ``<stage>/<key>``.
        versions: of the libraries.
    """
    return {
        "engine": {**engine.identity, "starts": engine.starts, **asdict(engine.usage)},
        "seed": config.seed,
        "config_sha256": sha256_of(as_values(config)),
        "wall_seconds": round(wall_seconds, 1),
        # A list, because trackers make a column of every key.
        "stage_seconds": [
            {"stage": stage, "seconds": took} for stage, took in stage_seconds.items()
        ],
        "versions": dict(versions),
    }
