"""After every model: is the loop healthy, and which model is the best so far?"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from iterdpo.config.health import HealthConfig
from iterdpo.evaluation.answers import duplicate_share
from iterdpo.evaluation.best import EVEN, Best, best_model, gain, outcome_gain
from iterdpo.evaluation.head_to_head import outcomes_by_prompt
from iterdpo.evaluation.health import Health, HealthMetrics, alarms, chosen_fall
from iterdpo.evaluation.pairs import length_ratio
from iterdpo.evaluation.report import Evaluation
from iterdpo.evaluation.resampling import RESAMPLES, SEED
from iterdpo.evaluation.statistics import Estimate
from iterdpo.models.layout import TRAINING_FILE
from iterdpo.pairing.base import DropReason, Pairing
from iterdpo.records import OFFLINE, Candidate, Comparison, Judgment, Policy
from iterdpo.settings import key_settings
from iterdpo.stages import names
from iterdpo.stages.base import Metrics, ValueStage
from iterdpo.store.stage import Stored, Work


@dataclass(frozen=True)
class CheckHealth(ValueStage[Health]):
    """Signs of a loop that goes wrong, and the best model so far.

    ``before`` is the check before, which leads back to M0: each check sees the whole run.
    """

    thresholds: HealthConfig
    scale: tuple[float, float] | None
    """The judge's lowest and highest score; None where its scores have no bounds."""

    name = names.HEALTH
    kind = Health
    version = 4

    @property
    def settings(self) -> Mapping[str, object]:
        draws = {"resamples": RESAMPLES, "seed": SEED}
        return {"thresholds": key_settings(self.thresholds), "scale": self.scale, **draws}

    def compute(
        self,
        work: Work,
        *,
        iteration: int,
        policy: Stored[Policy],
        evaluation: Stored[Evaluation],
        to_initial: Stored[tuple[Comparison, ...]] | None,
        to_parent: Stored[tuple[Comparison, ...]] | None,
        parent: Stored[Policy] | None,
        candidates: Stored[tuple[Candidate, ...]] | None,
        judgments: Stored[tuple[Judgment, ...]] | None,
        pairs: Stored[Pairing] | None,
        trained: Stored[Policy] | None,
        before: Stored[Health] | None,
    ) -> Metrics:
        """Check one model.

        Args:
            work: where the result goes.
            iteration: 0 for M0, of which there is nothing but its evaluation.
            policy: the model.
            evaluation: what was measured of it.
            to_initial: its comparisons with M0; None where it is M0 or nothing compares.
            to_parent: its comparisons with ``parent``, likewise.
            parent: the policy that the iteration started from.
            candidates: the iteration's answers.
            judgments: what its judge said of them.
            pairs: what was made of that.
            trained: the policy trained on them; None where no pair was left.
            before: the check of the model before.
        """
        checked = [*chain(before), (policy, evaluation, to_initial)]
        metrics = HealthMetrics(
            iteration=iteration,
            model=policy.value.name,
            response_tokens=evaluation.value.response_tokens,
            judged_mean=evaluation.value.judged_mean,
        )
        if parent and candidates and judgments and pairs:
            seen = fixed_gain(checked, parent.value.name, to_parent)
            metrics = dataclasses.replace(
                metrics,
                parent=parent.value.name,
                fixed_gain=seen.mean if seen else None,
                fixed_gain_low=seen.low if seen else None,
                **self._of_iteration(candidates.value, judgments.value, pairs.value),
                chosen_fall=_chosen_fall(trained, pairs.value, candidates.value),
            )
        history = [*(item.metrics for item in healths(before)), metrics]
        found = Health(metrics, alarms(history, self.thresholds), best_so_far(checked))
        self.keep(work, found)
        return {"alarms": [alarm.name for alarm in found.alarms], "best": found.best.model}

    def _of_iteration(
        self, candidates: Sequence[Candidate], judgments: Sequence[Judgment], pairs: Pairing
    ) -> dict[str, Any]:
        """Return the signs of an iteration's answers, judgments and pairs, by field of
        ``HealthMetrics``.
        """
        texts: dict[str, list[str]] = {}
        for item in candidates:
            if item.policy != OFFLINE:  # rows that share an answer are no lack of choice
                texts.setdefault(item.prompt_id, []).append(item.text)
        prospective = len(pairs.kept) + sum(pairs.dropped.values())
        scores = [item.score for item in judgments if item.score is not None]
        masses = [item.mass for item in judgments if item.mass is not None]
        tokens = {item.id: len(item.token_ids) for item in candidates}
        return {
            "tie_rate": pairs.dropped.get(DropReason.TIE, 0) / prospective if prospective else None,
            "length_ratio": length_ratio(pairs.kept, tokens),
            "score_mass": fmean(masses) if masses else None,
            "mean_score": share_of_scale(fmean(scores), self.scale) if scores else None,
            "duplicates": duplicate_share(texts),
            "unscored": 1 - len(scores) / len(judgments) if judgments else None,
        }


def share_of_scale(score: float, scale: tuple[float, float] | None) -> float | None:
    """Return where a score lies between the lowest and the highest, 0 to 1; None without bounds."""
    if scale is None:
        return None
    low, high = scale
    return (score - low) / (high - low)


CheckedPolicy = tuple[Stored[Policy], Stored[Evaluation], Stored[tuple[Comparison, ...]] | None]
"""A model, what was measured of it, and its comparisons with M0."""


def healths(last: Stored[Health] | None) -> list[Health]:
    """Return every check up to ``last``, M0's first."""
    found = []
    while last is not None:
        found.append(last.value)
        last = last.kwargs["before"]
    return found[::-1]


def chain(last: Stored[Health] | None) -> Iterator[CheckedPolicy]:
    """Yield what every check up to ``last`` looked at, M0's first."""
    if last is not None:
        inputs = last.kwargs
        yield from chain(inputs["before"])
        yield inputs["policy"], inputs["evaluation"], inputs["to_initial"]


def best_so_far(checked: Sequence[CheckedPolicy]) -> Best:
    """Name the best model by the strictest measure there is: exact scores, comparisons, judgments.

    Where models are compared but not scored, a model's values are its outcomes against M0, and M0's
    own are even.
    """
    evaluations = {policy.value.name: evaluation.value for policy, evaluation, _ in checked}
    if all(evaluation.sampled_by_prompt for evaluation in evaluations.values()):
        return best_model({n: e.sampled_by_prompt for n, e in evaluations.items()}, "oracle")
    compared = {policy.value.name: stored for policy, _, stored in checked if stored}
    if compared:
        outcomes = {name: outcomes_by_prompt(stored.value) for name, stored in compared.items()}
        even = {prompt: (EVEN,) for values in outcomes.values() for prompt in values}
        return best_model({name: outcomes.get(name, even) for name in evaluations}, "head_to_head")
    return best_model({n: e.judged_by_prompt for n, e in evaluations.items()}, "judge")


def fixed_gain(
    checked: Sequence[CheckedPolicy], parent: str, to_parent: Stored[tuple[Comparison, ...]] | None
) -> Estimate | None:
    """Return what the fixed judge sees of the last model's gain over ``parent``.

    In the oracle's points, or the win rate less one half; None where neither is there.
    """
    now = checked[-1][1].value.sampled_by_prompt
    before = next(item.value for policy, item, _ in checked if policy.value.name == parent)
    if now and before.sampled_by_prompt:
        return gain(now, before.sampled_by_prompt)
    if to_parent is None:
        return None
    outcomes = outcomes_by_prompt(to_parent.value)
    return outcome_gain(outcomes, dict.fromkeys(outcomes, (EVEN,))) if outcomes else None


def _chosen_fall(
    trained: Stored[Policy] | None, pairs: Pairing, candidates: Sequence[Candidate]
) -> float | None:
    if trained is None or not pairs.kept:
        return None
    report = json.loads((trained.directory / TRAINING_FILE).read_text("utf-8"))
    if report.get("logps") == "mean":  # over an answer's tokens already, as ORPO has them
        return chosen_fall(report["history"], 1)
    tokens = {item.id: len(item.token_ids) for item in candidates}
    return chosen_fall(report["history"], fmean(tokens[pair.chosen_id] for pair in pairs.kept))
