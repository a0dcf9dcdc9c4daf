"""Questions with nothing but what a test needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from iterdpo.tools.label.annotations import EXPORT_FORMAT, Vote
from iterdpo.tools.label.task import Kind, LabelTask, Question, Side, make_task


def question(
    number: int,
    first: str = "",
    second: str = "",
    prompt: str = "",
    scores: tuple[float | None, float | None] = (None, None),
) -> Question:
    """Return a question about prompt ``number``; ``scores`` are the judge's."""
    return Question(
        f"prompt-{number}",
        prompt or f"Do {number}.",
        Side("good", f"{number:02}-good", first or f"good {number}", scores[0]),
        Side("bad", f"{number:02}-bad", second or f"bad {number}", scores[1]),
    )


def task_of(questions: Sequence[Question], kind: Kind = "pairs", seed: int = 0) -> LabelTask:
    """Return a task of all questions."""
    return make_task(kind, "run", ("good", "bad"), questions, len(questions), seed)


def exported(
    task: LabelTask, annotator: str, preferences: Mapping[str, float | None]
) -> dict[str, Any]:
    """Return what the page exports of someone who prefers as told, by candidate id of ``first``.

    1 prefers the first answer, 0 the second, 1/2 ties, None skips; those left out are open.
    """
    items = []
    for item in task.items:
        name = item.question.first.candidate_id
        if name in preferences:
            wanted = preferences[name]
            choice: Vote = "skip" if wanted is None else "tie"
            if wanted in (0, 1):
                choice = "left" if (wanted == 1) == item.first_is_left else "right"
            items.append({"id": item.id, "choice": choice, "seconds": 2.5})
    return {"format": EXPORT_FORMAT, "task": task.hash, "annotator": annotator, "items": items}
