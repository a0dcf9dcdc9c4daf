"""Judging two answers side by side: both orders, what cannot be read, what a template may do."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iterdpo.engines.base import ChoiceLogprobs, Engine
from iterdpo.engines.scripted import ScriptedEngine, ScriptedScores
from iterdpo.errors import UserError
from iterdpo.judging.external import ExternalArbiter
from iterdpo.judging.pairwise import Order, PairwiseJudge, comparison, preference_of
from iterdpo.judging.pairwise_rubrics import PairwiseRubric
from iterdpo.models.chat_messages import Request
from iterdpo.records import (
    Base,
    Candidate,
    Comparison,
    FinishReason,
    Policy,
    Prompt,
    UnscoredReason,
)
from tests.narrowing import near, present

PROMPT = Prompt.of("Name an animal.", "test")
POLICY = Policy("M0", Base("place", "0", "none", "float32", "place"))
RUBRIC = PairwiseRubric("plain", "{{ prompt }}\n{{ first }}\n{{ second }}")


def answer(text: str, index: int = 0, prompt: Prompt = PROMPT) -> Candidate:
    return Candidate(
        f"{text}{index}", prompt.id, index, text, (1,), (2,), (-1.0,), FinishReason.STOP, "p", 0
    )


def judge(
    choose: ScriptedScores, rubric: PairwiseRubric = RUBRIC, **settings: Any
) -> PairwiseJudge:
    engine = ScriptedEngine(
        answer=lambda *_: "", choose=choose, context=settings.pop("context", None)
    )
    return PairwiseJudge(engine, rubric, name="initial", min_mass=0.5, **settings)


def scripted(asked: PairwiseJudge) -> ScriptedEngine:
    assert isinstance(asked.engine, ScriptedEngine)
    return asked.engine


def compare(asked: PairwiseJudge, *duels: tuple[Candidate, Candidate]) -> list[Comparison]:
    return list(asked.compare([PROMPT], duels, POLICY))


def shown(request: Request) -> list[str]:
    return request.messages[-1].content.split("\n")[1:]


def test_a_preference_is_the_first_ones_share_of_the_two() -> None:
    # p(1) = 0.3, p(2) = 0.1: 0.3 / 0.4, and 0.4 of the mass on the two.
    found = present(preference_of([math.log(0.3), math.log(0.1)]))
    assert found.first == pytest.approx(0.75)
    assert found.mass == pytest.approx(0.4)
    assert present(preference_of([-math.inf, math.log(0.2)])).first == 0
    assert present(preference_of([math.log(0.2), -math.inf])).first == 1
    assert preference_of([-math.inf, -math.inf]) is None
    assert preference_of([math.nan, 0.0]) is None


@given(st.floats(-2000, 0), st.floats(-2000, 0))
def test_a_preference_is_a_share_whatever_the_logits(one: Any, two: Any) -> None:
    found, swapped = present(preference_of([one, two])), present(preference_of([two, one]))
    assert 0 <= found.first <= 1
    assert 0 <= found.mass <= 1
    assert found.first + swapped.first == pytest.approx(1)


def test_the_better_answer_wins_in_either_place() -> None:
    likes_fox = judge(lambda request, _: {"1": 0.8, "2": 0.1} if shown(request)[0] == "fox"
                      else {"1": 0.2, "2": 0.6})  # fmt: skip
    (found,) = compare(likes_fox, (answer("fox"), answer("rock")))
    # First place: 0.8 / 0.9. Second place: 0.6 of 0.8 for the response that is shown second.
    assert found.forward == pytest.approx(8 / 9)
    assert found.backward == pytest.approx(0.75)
    assert found.preference == pytest.approx((8 / 9 + 0.75) / 2)
    assert (found.outcome, found.flipped, found.unscored) == (1.0, False, "")
    assert found.judge == POLICY.fingerprint
    (other,) = compare(likes_fox, (answer("rock"), answer("fox")))
    assert other.preference == pytest.approx(1 - present(found.preference))
    assert other.outcome == 0.0


def test_a_judge_that_likes_the_first_place_decides_nothing() -> None:
    (found,) = compare(judge(lambda *_: {"1": 0.9, "2": 0.1}), (answer("fox"), answer("rock")))
    assert (found.forward, found.backward) == pytest.approx((0.9, 0.1))
    assert found.flipped
    assert found.outcome == 0.5
    assert found.preference == pytest.approx(0.5)


def test_surer_in_one_order_is_still_a_tie_when_the_orders_disagree() -> None:
    # 0.9 when first, 0.4 when second: the mean of 0.65 is no win.
    found = comparison((answer("a"), answer("b")), "judge", [Order(0.9, ""), Order(0.6, "")])
    assert (found.forward, found.backward) == (0.9, near(0.4))
    assert (found.outcome, found.flipped) == (0.5, True)


def test_equal_texts_are_a_tie_that_nobody_is_asked_about() -> None:
    asked = judge(lambda *_: {"1": 1.0})
    same, other = (answer("fox"), answer("fox", 1)), (answer("fox"), answer("rock"))
    found = compare(asked, same, other, same)
    assert [item.outcome for item in found] == [0.5, 0.5, 0.5]
    assert [item.flipped for item in found] == [False, True, False]
    assert scripted(asked).calls == [("choice_logprobs", "M0", 2)]


def test_too_little_probability_on_the_two_choices_is_no_preference() -> None:
    (found,) = compare(judge(lambda *_: {"1": 0.3, "2": 0.1}), (answer("fox"), answer("rock")))
    assert (found.forward, found.backward) == (None, None)
    assert (found.preference, found.outcome, found.flipped) == (None, None, False)
    assert found.unscored == UnscoredReason.NO_MASS
    assert "-1.2" in found.raw[0]  # ln 0.3


def test_one_unread_order_leaves_no_preference() -> None:
    half = judge(lambda request, _: {"1": 1.0} if shown(request)[0] == "fox" else {})
    (found,) = compare(half, (answer("fox"), answer("rock")))
    assert (found.forward, found.backward) == (1.0, None)
    assert (found.outcome, found.unscored) == (None, "no_mass")


def test_a_pair_that_does_not_fit_the_context_is_counted() -> None:
    long = answer("very " * 30)
    fits, found = compare(
        judge(lambda *_: {"1": 1.0}, context=20), (answer("fox"), answer("rock")),
        (long, answer("fox")),
    )  # fmt: skip
    assert fits.outcome == 0.5
    assert (found.outcome, found.unscored) == (None, "prompt_too_long")
    assert found.raw[0].startswith("3")  # words of the prompt, and 20 at most


def test_an_engine_that_answers_out_of_order_is_not_believed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = judge(lambda *_: {"1": 1.0})
    answers = [ChoiceLogprobs(1, (0.0, -1.0))]
    monkeypatch.setattr(asked.engine, "choice_logprobs", lambda *_: iter(answers))
    with pytest.raises(RuntimeError, match="answered request 1 where 0 was due"):
        compare(asked, (answer("fox"), answer("rock")))


def test_what_cannot_be_compared_is_an_error_before_anything_is_asked() -> None:
    elsewhere = answer("fox", prompt=Prompt.of("Name a plant.", "test"))
    asked = judge(lambda *_: {"1": 1.0})
    with pytest.raises(ValueError, match="different prompts"):
        compare(asked, (answer("fox"), elsewhere))
    with pytest.raises(ValueError, match="was not given"):
        compare(asked, (elsewhere, elsewhere))
    with pytest.raises(ValueError, match="policy"):
        next(asked.compare([PROMPT], [(answer("a"), answer("b"))], None))
    assert scripted(asked).calls == []


@given(st.text(), st.text())
def test_model_text_stays_text(first: Any, second: Any) -> None:
    better = PairwiseRubric.load("better")
    hostile = first + "{{ 7 * 7 }}{% raw %}{# gone #}"
    text = better.render("Say {{ hello }}.", hostile, second)
    assert hostile in text
    assert second in text
    assert "Say {{ hello }}." in text
    assert text.rstrip().endswith("a single digit, 1 or 2, and nothing else.")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{{ prompt }} {{ first }}", "never uses second"),
        (
            "{{ prompt }} {{ first }} {{ second }} {{ score }}",
            "uses score; a pairwise rubric knows",
        ),
        ("{{ prompt }}\n{% if %}", "line 2"),
        ("{{ prompt }} {{ first }} {{ second }} {{ first.a.b }}", "no attribute"),
    ],
)
def test_a_template_that_cannot_serve_is_one_line(tmp_path: Path, source: str, said: str) -> None:
    path = tmp_path / "mine.jinja"
    path.write_text(source)
    with pytest.raises(UserError, match=r"evaluation\.arbiter_rubric=.*mine\.jinja: ") as caught:
        PairwiseRubric.load(str(path))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_rubric_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(UserError, match=r"no such rubric; give one of better or the path"):
        PairwiseRubric.load("worse")


def test_the_key_changes_with_what_is_asked() -> None:
    usual = judge(lambda *_: {}).identity
    assert usual != judge(lambda *_: {}, PairwiseRubric("other", RUBRIC.source + ".")).identity
    assert usual != judge(lambda *_: {}, system="Be fair.").identity


@dataclass
class Noted:
    """An engine that only says what became of it."""

    name: str
    log: list[str]
    sleeps: bool = True

    def sleep(self) -> bool:
        self.log.append(f"{self.name} sleeps")
        return self.sleeps

    def wake(self) -> None:
        self.log.append(f"{self.name} wakes")

    def close(self) -> None:
        self.log.append(f"{self.name} closes")


@pytest.mark.parametrize("sleeps", [True, False])
def test_a_model_from_outside_is_held_only_while_it_compares(
    sleeps: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    log: list[str] = []

    def choose(request: Request, policy: Policy) -> dict[str, float]:
        log.append(policy.name)
        return {"1": 1.0}

    run_engine = Noted("run", log, sleeps)
    asked = judge(choose)
    monkeypatch.setattr(asked.engine, "close", lambda: log.append("outside closes"))
    outside = Policy("external", Base("elsewhere", "1", "none", "float32", "elsewhere"))
    arbiter = ExternalArbiter(asked, outside, cast("Engine", run_engine))
    arbiter.close()
    assert log == []  # nothing was opened
    room = ["run sleeps"] if sleeps else ["run sleeps", "run closes"]
    for _ in range(2):  # both comparisons of a round, under one opening
        (found,) = arbiter.compare([PROMPT], [(answer("fox"), answer("rock"))], POLICY)
    assert log == [*room, *["external"] * 4]
    assert found.judge == outside.fingerprint
    assert arbiter.identity["model"] == outside.fingerprint
    arbiter.close()
    assert log[-2:] == ["outside closes", "run wakes"]
