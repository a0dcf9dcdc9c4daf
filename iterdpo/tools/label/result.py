"""What people's choices come to: a win rate with its interval, and who agrees with whom."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

from iterdpo.evaluation.resampling import win_rate_ci
from iterdpo.evaluation.statistics import Estimate
from iterdpo.tools.label.agreement import agreement_of
from iterdpo.tools.label.annotations import AnnotationFile
from iterdpo.tools.label.task import Item, LabelTask


def result_of(task: LabelTask, annotations: Sequence[AnnotationFile]) -> dict[str, Any]:
    """Return everything that the choices say, as plain values.

    ``preference`` is the mean preference for the first answer (the measured model, the chosen
    answer), ties one half, every prompt weighing the same however many people chose, with the 95 %
    interval of a win rate (``resampling.win_rate_ci``). Answers that were the same text were not
    shown: with them as ties it is ``preference_with_identical``, (1 - s) · preference + s / 2 for
    their share s.
    ``self_judge`` is the share of items with a preferred answer on which the run's judge prefers
    the same one, a tie of the judge one half: the agreement of person and judge.
    """
    chosen = {one.annotator: one.preferences(task) for one in annotations}
    items = {item.id: item for item in task.items}
    values = [(items[name], value) for own in chosen.values() for name, value in own.items()]
    seconds = [annotation.seconds for one in annotations for annotation in one.by_item.values()]
    preference = _clustered(values)
    share = task.identical / task.total if task.total else 0.0
    with_judge = [
        (item, same) for item, value in values if (same := _same(item, value)) is not None
    ]
    return {
        "task": task.hash,
        "kind": task.kind,
        "run": task.run,
        "first": task.names[0],
        "second": task.names[1],
        "annotators": {one.annotator: len(chosen[one.annotator]) for one in annotations},
        "items": len(task.items),
        "identical_share": share,
        "wins": sum(value == 1 for _, value in values),
        "ties": sum(value == 0.5 for _, value in values),
        "losses": sum(value == 0 for _, value in values),
        "skips": sum(
            annotation.choice == "skip"
            for one in annotations
            for annotation in one.by_item.values()
        ),
        "preference": asdict(preference) if preference else None,
        "preference_with_identical": (
            (1 - share) * preference.mean + share / 2 if preference else None
        ),
        "self_judge": asdict(judged) if (judged := _clustered(with_judge)) else None,
        "between_people": agreement_of(chosen) if len(annotations) > 1 else None,
        "median_seconds": median(seconds) if seconds else None,
    }


def label_lines(task: LabelTask, annotations: Sequence[AnnotationFile]) -> str:
    """Return the choices as JSON lines that ``judge=human`` reads, one a comparison."""
    lines = []
    for one in annotations:
        chosen = one.preferences(task)
        for item in task.items:
            if item.id in chosen:
                question = item.question
                line = {
                    "prompt": question.prompt_id,
                    "first": question.first.candidate_id,
                    "second": question.second.candidate_id,
                    "preference": chosen[item.id],
                    "annotator": one.annotator,
                    "task": task.hash,
                }
                lines.append(json.dumps(line) + "\n")
    return "".join(lines)


def _clustered(values: Sequence[tuple[Item, float]]) -> Estimate | None:
    by_prompt: dict[str, list[float]] = {}
    for item, value in values:
        by_prompt.setdefault(item.question.prompt_id, []).append(value)
    # In one order whatever the page's was, so that the resamples are the same.
    return win_rate_ci(dict(sorted(by_prompt.items()))) if by_prompt else None


def _same(item: Item, value: float) -> float | None:
    """Return 1, 1/2 or 0: the judge agrees, ties, disagrees; None without a score or preference."""
    first, second = item.question.first.score, item.question.second.score
    if first is None or second is None or value == 0.5:
        return None
    return 0.5 if first == second else float((first > second) == (value == 1))
