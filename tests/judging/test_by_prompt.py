"""A judge of one's own: what it says becomes judgments, and what goes wrong in it a line."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from iterdpo.engines.scripted import ScriptedEngine
from iterdpo.errors import LineageError, UserError
from iterdpo.judging import Group, Judge, PromptJudge, Scored, Unscored, UnscoredReason
from iterdpo.judging.asking import ask, groups_of
from iterdpo.records import Candidate, Judgment, Policy, Prompt
from iterdpo.settings import Provided
from tests.judging.rankers import POLICY, candidate

PROMPTS = (Prompt.of("one", "t"), Prompt.of("two", "t"))
ANSWERS = [
    candidate(PROMPTS[at], n, text) for at, n, text in ((0, 0, "a"), (0, 1, ""), (1, 0, "b"))
]

Says = Callable[[Prompt, Sequence[Candidate]], Any]


@dataclass(frozen=True)
class Own(PromptJudge):
    """Says what a test wants it to."""

    says: Provided[Says]

    def verdicts(self, prompt: Prompt, candidates: Sequence[Candidate]) -> Any:
        return self.says(prompt, candidates)


def asked(judge: Judge) -> list[Judgment]:
    groups = groups_of(PROMPTS, ANSWERS, judge)
    return [item for made in ask(judge, groups, POLICY) for item in made]


def of(value: Any) -> Any:
    """Return the verdict that a judge's value for an answer becomes."""
    return asked(Own(lambda _, answers: [value] * len(answers)))[0].verdict


def test_it_is_asked_about_one_prompt_at_a_time_and_named_by_its_fingerprint() -> None:
    seen: list[tuple[str, list[str]]] = []

    def says(prompt: Prompt, answers: Sequence[Candidate]) -> list[float]:
        seen.append((prompt.text, [item.text for item in answers]))
        return [float(len(item.text)) for item in answers]

    judge = Own(says)
    made = asked(judge)
    assert seen == [("one", ["a", ""]), ("two", ["b"])]
    assert [item.score for item in made] == [1.0, 0.0, 1.0]
    assert [item.candidate_id for item in made] == [item.id for item in ANSWERS]
    assert {item.judge for item in made} == {judge.fingerprint}
    assert judge.fingerprint != POLICY.fingerprint
    assert made[0].raw == ("1.0",)
    assert len({item.id for item in made}) == 3


@pytest.mark.parametrize(
    "value", [3, 3.0, np.float32(3), np.array([3.0])[0], np.array(3), Fraction(3), Scored(3)]
)
def test_every_kind_of_number_is_a_score(value: Any) -> None:
    assert of(value) == Scored(3.0)


def test_passed_is_one_and_an_unscored_answer_keeps_its_reason() -> None:
    assert (of(True), of(False)) == (Scored(1.0), Scored(0.0))
    unscored = Unscored(UnscoredReason.NO_VERDICT, "nothing to say")
    (first, *_) = asked(Own(lambda _, answers: [unscored] * len(answers)))
    assert (first.verdict, first.raw) == (unscored, ("nothing to say",))


@pytest.mark.parametrize(
    ("value", "shown"),
    [(math.nan, "nan"), (math.inf, "inf"), ("4", "'4'"), (None, "None"), ([1, 2], r"\[1, 2\]"),
     (np.array([1.0, 2.0]), r"array\(\[1., 2.\]\)"), (Scored(math.nan), "nan"),
     (10**400, "1000.*")],
)  # fmt: skip
def test_what_is_no_finite_number_is_named_with_its_answer(value: Any, shown: str) -> None:
    place = f"^judge: Own: prompt {PROMPTS[0].id}, answer {ANSWERS[0].id}: "
    with pytest.raises(UserError, match=f"{place}{shown} is no finite number; give one, or Unsc"):
        of(value)


def test_another_number_of_verdicts_is_one_line() -> None:
    said = f"^judge: Own: prompt {PROMPTS[0].id}: 1 verdicts on 2 answers; return one for each"
    with pytest.raises(UserError, match=said):
        asked(Own(lambda *_: [1.0]))


def fails(prompt: Prompt, answers: Sequence[Candidate]) -> list[float]:
    return [1 / len(item.text) for item in answers]


def test_what_it_raises_is_one_line_with_the_prompt_and_the_place_and_keeps_its_cause() -> None:
    line = fails.__code__.co_firstlineno + 1
    said = (
        f"^judge: Own: prompt {PROMPTS[0].id}: ZeroDivisionError: division by zero, "
        rf"{Path(__file__).name} line {line}$"
    )
    with pytest.raises(UserError, match=said) as raised:
        asked(Own(fails))
    assert isinstance(raised.value.__cause__, ZeroDivisionError)


def test_what_it_does_not_return_is_a_line_too() -> None:
    with pytest.raises(UserError, match="TypeError: 'NoneType' object is not iterable, "):
        asked(Own(lambda *_: None))


@pytest.mark.parametrize(
    "error", [UserError("mine"), LineageError("another policy"), KeyboardInterrupt()]
)
def test_errors_that_say_themselves_what_is_wrong_stay_as_they_are(error: BaseException) -> None:
    def says(*_: Any) -> Any:
        raise error

    with pytest.raises(type(error)) as raised:
        asked(Own(says))
    assert raised.value is error


@dataclass(frozen=True)
class AtOnce(Judge):
    """Gives back a list, and judges by the run's engine."""

    engine: Provided[ScriptedEngine]

    def judge(self, groups: Any, policy: Policy) -> Any:
        from iterdpo.judging.base import answers_of, judgment

        return [judgment(item, self.fingerprint, Scored(2.0)) for _, item in answers_of(groups)]


def test_a_list_of_judgments_does_as_well() -> None:
    engine = ScriptedEngine(lambda *_: "")
    assert [item.score for item in asked(AtOnce(engine))] == [2.0, 2.0, 2.0]


def test_a_bug_of_ours_is_no_user_s_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    def says(*_: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(Own, "__module__", "iterdpo.judging.own")
    monkeypatch.setattr(Own, "name", "own", raising=False)
    monkeypatch.setattr(Own, "version", 1, raising=False)
    with pytest.raises(ZeroDivisionError):
        asked(Own(says))


def test_a_group_is_one_prompt_with_answers() -> None:
    judge = Own(lambda *_: [])
    assert groups_of(PROMPTS, ANSWERS, judge) == [
        Group(PROMPTS[0], tuple(ANSWERS[:2])), Group(PROMPTS[1], tuple(ANSWERS[2:])),
    ]  # fmt: skip


def test_most_of_a_judge_has_a_default() -> None:
    judge = Own(lambda *_: [])
    assert (judge.by_prompt, judge.streams, judge.holds_model) == (True, False, False)
    assert (judge.scale, judge.judged_by, judge.sft_rubric, dict(judge.counts)) == (
        None, "initial", None, {},
    )  # fmt: skip
    judge.prepare()
    judge.close()
