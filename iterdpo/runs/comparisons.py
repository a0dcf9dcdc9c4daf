"""The part of ``summary.json`` that is about the models of a run together: who beats whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from iterdpo.evaluation.head_to_head import contests, head_to_head
from iterdpo.evaluation.ratings import bradley_terry
from iterdpo.evaluation.report import oracle_scores
from iterdpo.evaluation.statistics import Estimate, mean_ci
from iterdpo.evaluation.verifiers import Verifier
from iterdpo.records import Candidate, Comparison, Prompt
from iterdpo.rounds import PolicyEvaluation
from iterdpo.stages.evaluate import measured_from
from iterdpo.store.stage import Stored


def address(stored: Stored[Any]) -> str:
    """Return a stage's place below the store's root, ``<stage>/<key>``."""
    return f"{stored.stage.name}/{stored.key}"


def comparison_entries(measured: PolicyEvaluation, judge: str) -> list[dict[str, Any]]:
    """Return what came of a model against each of its opponents.

    Args:
        measured: the model.
        judge: who compared, as the configuration names it.
    """
    entries = []
    for opponent, stored in measured.comparisons:
        name = opponent.policy.value.name
        entry = _comparison_entry(measured, name, judge, measured.sampled, opponent.sampled, stored)
        if judge == "oracle":  # which is shown no order
            entry["flips"] = None
        entries.append(entry)
    return entries


def control_comparison_entries(
    initial: PolicyEvaluation, measured: PolicyEvaluation, judge: str
) -> list[dict[str, Any]]:
    """Return what came of a model against each control.

    Args:
        initial: M0, whose answers the controls are.
        measured: the model.
        judge: who compared, as the configuration names it.
    """
    name = initial.policy.value.name
    return [
        _comparison_entry(measured, name, judge, item.answers, item.opponents, item.comparisons)
        | {"control": item.baseline}
        for item in measured.against_baselines
    ]


def _comparison_entry(
    measured: PolicyEvaluation,
    opponent: str,
    judge: str,
    answers: Stored[tuple[Candidate, ...]],
    opponents: Stored[tuple[Candidate, ...]],
    stored: Stored[tuple[Comparison, ...]],
) -> dict[str, Any]:
    tokens = {item.id: len(item.token_ids) for item in (*answers.value, *opponents.value)}
    return {
        "model": measured.policy.value.name,
        "opponent": opponent,
        "judge": judge,
        **asdict(head_to_head(stored.value, tokens)),
        "stage": address(stored),
    }


def rating_entries(measured: Sequence[PolicyEvaluation]) -> list[dict[str, Any]]:
    """Return each model's rating from all comparisons so far, M0 at 0; none without comparisons."""
    met = [
        contest
        for model in measured
        for opponent, stored in model.comparisons
        for contest in contests(model.policy.value.name, opponent.policy.value.name, stored.value)
    ]
    names = list(dict.fromkeys(item.policy.value.name for item in measured))
    connected = {names[0]}
    for _ in names:  # a model none of whose comparisons could be read has no place on the scale
        pairs = ({contest.a, contest.b} for contest in met)
        connected |= {name for pair in pairs if pair & connected for name in pair}
    if len(connected) == 1:
        return []
    rated = bradley_terry(
        [name for name in names if name in connected],
        [contest for contest in met if contest.a in connected],
    )
    return [asdict(item) for item in rated]


@dataclass(frozen=True)
class TemperatureBaseline:
    """A model's answers at a lower temperature, and what the oracle says of them."""

    temperature: float
    scores: Mapping[str, Sequence[float]]
    """By prompt id."""
    answers: Stored[tuple[Candidate, ...]]

    @property
    def quality(self) -> Estimate:
        return mean_ci(self.scores)


def controls_of(measured: PolicyEvaluation, oracle: Verifier | None) -> list[TemperatureBaseline]:
    """Return a model at lower temperatures, which M0 has; none without an oracle."""
    if oracle is None:
        return []
    held_out: Sequence[Prompt] = measured_from(measured.evaluation)["held_out"].value
    return [
        TemperatureBaseline(temperature, oracle_scores(held_out, stored.value, oracle), stored)
        for temperature, stored in measured.baselines
        if stored.value
    ]


def strongest(controls: Sequence[TemperatureBaseline]) -> TemperatureBaseline | None:
    """Return the control of the highest quality: the one that a trained model has to beat."""
    return max(controls, key=lambda control: control.quality.mean, default=None)


def control_entries(name: str, controls: Sequence[TemperatureBaseline]) -> list[dict[str, Any]]:
    """Return what came of each control of the model ``name``."""
    best = strongest(controls)
    return [
        {
            "model": name,
            "temperature": control.temperature,
            "quality": asdict(control.quality),
            "strongest": control is best,
            "response_tokens": _mean_tokens(control.answers.value),
            "stage": address(control.answers),
        }
        for control in controls
    ]


def _mean_tokens(answers: Sequence[Candidate]) -> float:
    return sum(len(answer.token_ids) for answer in answers) / len(answers)
