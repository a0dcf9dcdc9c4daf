"""The run's win rates without the judge's errors, by what people said of the same answers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import fmean

from iterdpo.evaluation.judge_errors import Correction, Labeled, correct
from iterdpo.evaluation.statistics import Estimate
from iterdpo.evaluation.summary import ComparisonSummary
from iterdpo.records import Candidate, Comparison
from iterdpo.runs.corrections import CorrectedComparison
from iterdpo.runs.directory import Run
from iterdpo.tools.label.annotations import AnnotationFile
from iterdpo.tools.label.task import LabelTask

Answers = tuple[str, str]
"""Candidate ids of a comparison: the answer of the task's first model, and of its second."""


def corrections_of(
    run: Run, task: LabelTask, annotations: Sequence[AnnotationFile]
) -> Iterator[CorrectedComparison]:
    """Yield the comparisons of the task's two models by every judge of the run, corrected.

    Several people's choices for an item count as their mean. Answers that are the same text were
    not shown to people: what is corrected are the others, and these come in as ties, as in
    ``preference_with_identical``.

    Raises:
        UserError: the run's records are no longer in the store, or damaged.
    """
    people = _people(task, annotations)
    summary = run.summary
    met = [
        item
        for item in (*summary.comparisons, *summary.against_baselines)
        if {item.model, item.opponent} == set(task.names)
    ]
    if task.kind != "models" or not met:
        return
    texts = _texts(run, task.names)
    for item in met:
        judged = _outcomes(run, item, turned=item.model != task.names[0])
        if not judged.keys() & people.keys():
            continue  # greedy answers against sampled ones
        correction = _correct(judged, people, texts)
        if correction:
            opponent = (
                task.names[1] if item.baseline is None else f"{task.names[1]}, {item.baseline}"
            )
            yield CorrectedComparison(task.names[0], opponent, item.judge, item.stage, correction)


def _people(task: LabelTask, annotations: Sequence[AnnotationFile]) -> dict[Answers, float]:
    chosen = [one.preferences(task) for one in annotations]
    found = {}
    for item in task.items:
        if values := [own[item.id] for own in chosen if item.id in own]:
            answers = item.question.first.candidate_id, item.question.second.candidate_id
            found[answers] = fmean(values)
    return found


def _texts(run: Run, models: Sequence[str]) -> dict[str, list[str]]:
    stages = [model.stages for model in run.models if model.name in models]
    addresses = [address for own in stages for address in (own.sampled, own.greedy)]
    return {
        answer.id: answer.text.split()
        for address in addresses
        for answer in run.records(address, Candidate)
    }


def _outcomes(run: Run, item: ComparisonSummary, turned: bool) -> dict[Answers, tuple[str, float]]:
    """Return prompt and outcome of each comparison that could be read, for the first model."""
    found: dict[Answers, tuple[str, float]] = {}
    for one in run.records(item.stage, Comparison):
        if one.outcome is not None:
            answers = one.answer_id, one.opponent_id
            found[answers[::-1] if turned else answers] = (
                one.prompt_id, 1 - one.outcome if turned else one.outcome,
            )  # fmt: skip
    return found


def _correct(
    judged: Mapping[Answers, tuple[str, float]],
    people: Mapping[Answers, float],
    texts: Mapping[str, list[str]],
) -> Correction | None:
    same: defaultdict[str, list[bool]] = defaultdict(list)
    outcomes: defaultdict[str, list[float]] = defaultdict(list)
    labeled: defaultdict[str, list[Labeled]] = defaultdict(list)
    for answers, (prompt, outcome) in judged.items():
        identical = texts[answers[0]] == texts[answers[1]]
        same[prompt].append(identical)
        if not identical:
            outcomes[prompt].append(outcome)
            if answers in people:
                labeled[prompt].append((people[answers], outcome))
    # In one order whatever the page's was, so that the resamples are the same.
    found = correct(dict(sorted(outcomes.items())), dict(sorted(labeled.items())))
    if found is None:
        return None
    ties = fmean(fmean(values) for values in same.values())
    return replace(
        found,
        judged=_with_ties(found.judged, ties),
        corrected=_with_ties(found.corrected, ties) if found.corrected else None,
    )


def _with_ties(rate: Estimate, share: float) -> Estimate:
    mean, low, high = (
        None if value is None else (1 - share) * value + share / 2
        for value in (rate.mean, rate.low, rate.high)
    )
    assert mean is not None
    return replace(rate, mean=mean, low=low, high=high)
