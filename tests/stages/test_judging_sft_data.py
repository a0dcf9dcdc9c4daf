"""A policy's verdicts on ranked answers, and the examples that come of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from iterdpo.data.instructions import RankedAnswers
from iterdpo.engines.base import Sampling
from iterdpo.engines.scripted import TRUNCATED, ScriptedAnswer, ScriptedEngine
from iterdpo.errors import UserError
from iterdpo.judging.rubrics import Rubric
from iterdpo.judging.verdicts import VERDICTS_VERSION
from iterdpo.models.chat_messages import Request
from iterdpo.records import Policy, Unscored, UnscoredReason
from iterdpo.stages.base import PrepareBase
from iterdpo.stages.judging_sft_data import VERDICTS_FILE, WriteEftData, WrittenVerdict
from iterdpo.store.runner import Stages
from iterdpo.store.stage import Stored
from iterdpo.store.tables import read_records
from tests.narrowing import metrics_of

RANKED = tuple(
    RankedAnswers(f"question {n}", (f"good {n}", f"fair {n}", f"bad {n}"), f"line {n + 1}")
    for n in range(6)
)


def judge(request: Request, policy: Policy, sample: int) -> str:
    """The first draw sees no difference; the second is right, but not on question 5."""
    text = request.messages[-1].content
    answer = text.split("<response>\n")[1]
    score = {"good": 4, "fair": 3, "bad": 1}[answer.split()[0]]
    if sample == 0:
        return "All the same.\nScore: 3"
    return f"Reasons.\nScore: {5 - score if 'question 5' in text else score}"


@pytest.fixture
def stages(tmp_path: Path) -> Stages:
    return Stages(tmp_path / "store")


@pytest.fixture
def m0(stages: Stages, tmp_path: Path) -> Stored[Policy]:
    return stages.run(PrepareBase(tmp_path, "0" * 64, "none", "float32", False))


def step(answer: ScriptedAnswer = judge, **settings: Any) -> WriteEftData:
    usual: dict[str, Any] = {
        "ranked": RANKED, "engine": ScriptedEngine(answer=answer, shard_rows=4, streams=False),
        "rubric": Rubric.load("additive"), "sampling": Sampling(n=2, temperature=0.7), "low": 0,
        "high": 5, "system": None, "max_ratio": 2.0,
    }  # fmt: skip
    return WriteEftData(**usual | settings)


def test_verdicts_that_agree_are_kept_with_their_words(stages: Stages, m0: Stored[Policy]) -> None:
    made = stages.run(step(), m0)
    assert len(made.value) == 5 * 3
    first = made.value[0]
    assert (first.prompt, first.response, first.score) == ("question 0", "good 0", 4.0)
    assert (first.judgment, first.row) == ("Reasons.\nScore: 4", "line 1")
    metrics = metrics_of(made)
    assert metrics["verdicts"] == 6 * 3 * 2
    # The first draw of each ties, the second of question 5 is upside down.
    assert metrics["dropped"]["disagrees"] == 6 * 3 + 3
    assert metrics["kept"] + sum(metrics["dropped"].values()) == metrics["verdicts"]
    said = read_records(made.directory / VERDICTS_FILE, WrittenVerdict)
    assert [(v.question, v.answer, v.sample) for v in said[:3]] == [(0, 0, 0), (0, 0, 1), (0, 1, 0)]


def test_what_cannot_be_read_is_no_number(stages: Stages, m0: Stored[Policy]) -> None:
    def mumble(request: Request, policy: Policy, sample: int) -> str:
        cut = "question 0" in request.messages[-1].content
        # The score is there, and its end is not.
        return judge(request, policy, sample) + f"\nBut then{TRUNCATED}" * cut

    made = stages.run(step(mumble), m0)
    assert "question 0" not in {example.prompt for example in made.value}
    assert metrics_of(made)["dropped"]["unreadable"] == 2 * 3


def test_a_question_that_does_not_fit_the_context_is_counted(
    stages: Stages, m0: Stored[Policy]
) -> None:
    long = RankedAnswers("long " * 900, ("good one", "bad one"), "line 9")
    limited = step(ranked=(*RANKED, long))
    assert isinstance(limited.engine, ScriptedEngine)
    limited.engine.context = 800
    made = stages.run(limited, m0)
    assert metrics_of(made)["dropped"]["unreadable"] == 2 * 2
    verdicts = read_records(made.directory / VERDICTS_FILE, WrittenVerdict)[-4:]
    for verdict in (item.verdict for item in verdicts):
        assert isinstance(verdict, Unscored)
        assert verdict.reason is UnscoredReason.PROMPT_TOO_LONG


def test_no_example_at_all_stops_with_the_reasons(stages: Stages, m0: Stored[Policy]) -> None:
    with pytest.raises(UserError, match=r"none of 36 verdicts by M0 was kept \(36 unreadable\)"):
        stages.run(step(lambda *_: "Hm."), m0)


def test_what_changes_examples_is_in_the_settings() -> None:
    usual = step().settings
    assert usual["verdicts"] == VERDICTS_VERSION
    changes: list[dict[str, Any]] = [
        {"ranked": RANKED[:-1]}, {"rubric": Rubric.load("lab")}, {"sampling": Sampling(n=3)},
        {"low": 1}, {"high": 4}, {"system": "s"}, {"max_ratio": 1.0},
    ]  # fmt: skip
    for change in changes:
        assert replace(step(), **change).settings != usual, change
