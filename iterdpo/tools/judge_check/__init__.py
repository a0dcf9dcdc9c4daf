"""Is this judge any good? Measured on answers whose order is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from iterdpo.assemble import library_versions
from iterdpo.assemble.judge_alone import JudgeAlone, judge_alone
from iterdpo.config.compose import config_of
from iterdpo.data.labelled import LabelledAnswers, read_labelled
from iterdpo.data.source import RowSource
from iterdpo.engines.base import Engine
from iterdpo.evaluation.judge_check import JudgeCheck, JudgedAnswers, check_judge
from iterdpo.prompts.base import shuffled
from iterdpo.records import Candidate, Prompt
from iterdpo.stages.judge import JudgeCandidates
from iterdpo.stages.judge_set import KeepRecords, judge_set
from iterdpo.store.hashing import derive_seed
from iterdpo.store.runner import Stages


@dataclass(frozen=True)
class CheckedJudge:
    """One judge's figures, and what they cost."""

    judge: str
    """The overrides that name it."""
    check: JudgeCheck
    seconds: float
    """Of judging, when it was computed; of a repeated check, what it took then."""
    metrics: Mapping[str, Any]
    """Of the stage: tokens by kind, and what the judge counts, such as order flips."""


def check_judges(
    path: str,
    judges: Sequence[str],
    overrides: Sequence[str] = (),
    *,
    subset: str | None = None,
    split: str = "train",
    n: int | None = None,
    engine: Engine | None = None,
) -> list[CheckedJudge]:
    """Measure judges on the same labelled answers.

    Judgments are kept in the configured store: the same check again computes nothing.

    Args:
        path: the labelled data: a file, a directory or a dataset of the hub.
        judges: the overrides of each, separated by spaces; one empty text for one judge that
            ``overrides`` name.
        overrides: of all of them, as of a run: ``model.path=DIR``.
        subset: the dataset's configuration, where it has several.
        split: of a directory or dataset.
        n: judge a sample of so many rows; all unless given.
        engine: takes the place of the configured one, in tests.

    Raises:
        UserError: the data or the configuration cannot be used.
    """
    configs = [config_of([*overrides, *own.split()])[0] for own in judges]
    source = RowSource(path=path, key="DATA", subset=subset, split=split)
    items = read_labelled(source)
    if n is not None and n < len(items):
        order = shuffled([str(number) for number in range(len(items))], derive_seed(0, "judge set"))
        items = [items[number] for number in sorted(int(place) for place in order[:n])]
    return [
        _check(judge_alone(config, engine), own or " ".join(overrides) or "judge=lab", items)
        for config, own in zip(configs, judges, strict=True)
    ]


def _check(alone: JudgeAlone, said: str, items: Sequence[LabelledAnswers]) -> CheckedJudge:
    rows = judge_set(items)
    prompts = tuple(prompt for _, prompt, _ in rows)
    answers = tuple(answer for _, _, own in rows for answer in own)
    stages = Stages(alone.store, library_versions())
    with closing(alone.engine):
        judged = stages.run(
            JudgeCandidates(alone.judge, alone.engine, "judge_set_judgments"),
            stages.run(KeepRecords(Prompt, prompts, "judge_set_prompts")),
            stages.run(KeepRecords(Candidate, answers, "judge_set_answers")),
            stages.run(alone.base),
        )
        by_answer = {item.candidate_id: item for item in judged.value}
    made = [
        JudgedAnswers(asked, item.answers, tuple(by_answer[answer.id] for answer in own))
        for item, (asked, _, own) in zip(items, rows, strict=True)
    ]
    perfect = alone.judge.scale[1] if alone.judge.scale else None
    seconds: Any = judged.manifest["seconds"]
    return CheckedJudge(said, check_judge(made, perfect), float(seconds), judged.metrics)
