"""What of a run people can compare: its models, its training pairs, its candidates."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations

from iterdpo.errors import UserError
from iterdpo.evaluation.summary import ModelStages
from iterdpo.records import Candidate, Prompt
from iterdpo.runs.directory import Run
from iterdpo.tools.label.task import Kind, Question, Side


def questions_of(
    run: Run, kind: Kind, models: tuple[str, str], iteration: int | None, greedy: bool
) -> tuple[tuple[str, str], list[Question]]:
    """Return what the first and the second answers are, and all questions of a kind.

    Args:
        run: the run.
        kind: what to compare.
        models: the baseline and the measured model, for ``models``.
        iteration: from 1; None for all of them (``pairs``) or the last one (``candidates``).
        greedy: greedy answers instead of the first sampled one, for ``models``.

    Raises:
        UserError: the run does not have it.
    """
    if kind == "models":
        baseline, measured = models
        return (measured, baseline), list(_models(run, baseline, measured, greedy))
    done = len(run.summary.iterations)
    if done == 0:
        raise UserError(f"{run.directory}: no iteration is done yet; try later, or --kind models")
    if iteration is not None and not 1 <= iteration <= done:
        raise UserError(f"--iteration={iteration}: {run.directory} has 1 to {done}")
    if kind == "pairs":
        chosen = [iteration] if iteration else range(1, done + 1)
        return ("chosen", "rejected"), [item for t in chosen for item in _pairs(run, t)]
    return ("a", "b"), list(_candidates(run, iteration or done))


def _models(run: Run, baseline: str, measured: str, greedy: bool) -> Iterator[Question]:
    if baseline == measured:
        raise UserError(f"--models {baseline} {measured}: name two different models")
    first = _first_answers(run, measured, greedy)
    second = _first_answers(run, baseline, greedy)
    for prompt in run.records(_stages(run, baseline).held_out, Prompt):
        if prompt.id in first and prompt.id in second:
            ours, theirs = first[prompt.id], second[prompt.id]
            yield Question(
                prompt.id,
                prompt.text,
                Side(measured, ours.id, ours.text),
                Side(baseline, theirs.id, theirs.text),
            )


def _stages(run: Run, name: str) -> ModelStages:
    run.policy(name)  # raises where there is none
    return next(model.stages for model in run.models if model.name == name)


def _first_answers(run: Run, name: str, greedy: bool) -> dict[str, Candidate]:
    stages = _stages(run, name)
    answers = run.records(stages.greedy if greedy else stages.sampled, Candidate)
    return {answer.prompt_id: answer for answer in answers if answer.index == 0}


def _pairs(run: Run, iteration: int) -> Iterator[Question]:
    for pair in run.made(iteration).pairs:
        yield Question(
            pair.prompt_id,
            pair.prompt,
            Side("chosen", pair.chosen_id, pair.chosen, pair.chosen_score),
            Side("rejected", pair.rejected_id, pair.rejected, pair.rejected_score),
        )


def _candidates(run: Run, iteration: int) -> Iterator[Question]:
    """Yield every two usable answers to a prompt: those that could make a pair."""
    made = run.made(iteration)
    scores = {judgment.candidate_id: judgment.score for judgment in made.judgments}
    usable: defaultdict[str, list[Candidate]] = defaultdict(list)
    for candidate in made.candidates:
        if candidate.text.strip() and not candidate.truncated:
            usable[candidate.prompt_id].append(candidate)
    for prompt in made.prompts:
        for a, b in combinations(_distinct(usable[prompt.id]), 2):
            yield Question(
                prompt.id,
                prompt.text,
                Side("a", a.id, a.text, scores.get(a.id)),
                Side("b", b.id, b.text, scores.get(b.id)),
            )


def _distinct(candidates: Sequence[Candidate]) -> list[Candidate]:
    by_text: dict[tuple[str, ...], Candidate] = {}
    for candidate in candidates:
        by_text.setdefault(tuple(candidate.text.split()), candidate)
    return list(by_text.values())
