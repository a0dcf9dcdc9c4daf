"""The algorithm alone: which stage gets what, with stages that only remember their arguments."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from iterdpo import loop
from iterdpo.errors import UserError
from iterdpo.recipe import Recipe
from iterdpo.records import Prompt
from iterdpo.stages.self_instruct import SelfInstruct
from iterdpo.store.runner import Stages


@dataclass
class Recorded:
    """A stored result that knows what it was made from."""

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    value: Any = None

    @property
    def key(self) -> str:
        inputs = (*self.args, *self.kwargs.values())
        return f"{self.name}({', '.join(getattr(arg, 'key', str(arg)) for arg in inputs)})"


@dataclass
class RecordingStages:
    """Runs nothing: returns what the script says, and keeps every call."""

    values: dict[str, Any]
    calls: list[Recorded] = field(default_factory=list)
    forgot: int = 0

    def forget(self) -> None:
        self.forgot += 1

    def run(self, stage: Any, *args: Any, **kwargs: Any) -> Recorded:
        name = "select" if isinstance(stage, SelfInstruct) else stage
        value = self.values.get(name)
        made = value(*args, **kwargs) if callable(value) else value
        self.calls.append(Recorded(name, args, kwargs, made))
        return self.calls[-1]

    def made(self, stage: str) -> list[Recorded]:
        return [call for call in self.calls if call.name == stage]


STAGES = (
    "base select held_out reference_prompts generate answer answer_greedily answer_reference judge "
    "judge_measured build_pairs train evaluate score compare count_comparisons rate measure_pairs "
    "measure_baselines measure_gains measure_agreement check"
).split()


USUAL = {
    "judge_model": "current",
    "reference": "previous",
    "arbiter": "oracle",
    "on_alarm": "warn",
    "baselines": (),
}
NOTHING = SimpleNamespace(alarms=())


class Judging(str):
    """The name of a stage that asks a policy for its judgments, or a judge that is none."""

    asks_policy = True


def make_recipe(**choices: Any) -> Any:
    stages = {name: name for name in STAGES}
    hooks = ("require_known", "require_pairs", "require_scored", "close_arbiter")
    checks = {name: lambda *args: None for name in hooks}

    def initialize(stages: RecordingStages) -> tuple[Recorded, Recorded]:
        base = stages.run("base")
        return base, base

    def select_prompts(*args: Any) -> Any:
        return Recipe.select_prompts(recipe, *args)

    made = {
        "initialize": initialize,
        "select_prompts": select_prompts,
        "judge_measured": Judging("judge_measured"),
    }
    recipe: Any = SimpleNamespace(**(stages | USUAL | checks | made | choices))
    return recipe


def rounds_of(recipe: Any, iterations: int, stages: RecordingStages) -> list[Any]:
    return list(loop.run(recipe, iterations, cast("Stages", stages)))


def play(
    iterations: int = 3, kept: tuple[str, ...] = ("pair",), check: Any = NOTHING, **choices: Any
) -> Any:
    prompts = {
        "select": (Prompt.of("to train on", "test"),),
        "held_out": (Prompt.of("to measure on", "test"),),
        "reference_prompts": (Prompt.of("to judge on", "test"),),
        "build_pairs": SimpleNamespace(kept=kept),
        "base": SimpleNamespace(name="M0"),
        "train": lambda t, *_: SimpleNamespace(name=f"M{t}"),
        "check": check,
    }
    stages = RecordingStages(prompts)
    rounds = rounds_of(make_recipe(**choices), iterations, stages)
    return rounds, stages


def test_m0_is_measured_first_and_then_each_policy() -> None:
    rounds, stages = play()
    assert [done.iteration for done in rounds] == [0, 1, 2, 3]
    assert rounds[0].made is None
    assert rounds[0].policy.name == "base"
    measured = [call.args[1] for call in stages.made("answer")]
    assert measured == [done.policy for done in rounds]


def test_each_policy_writes_judges_and_becomes_the_next() -> None:
    rounds, stages = play()
    base, *adapters = [done.policy for done in rounds]
    writers = [call.args[1] for call in stages.made("generate")]
    assert writers == [base, *adapters[:-1]]
    assert [call.args[2] for call in stages.made("judge")] == writers
    for t, call in enumerate(stages.made("train"), 1):
        iteration, start, reference, pairs, candidates = call.args
        assert (iteration, start) == (t, writers[t - 1])
        assert reference is start
        assert pairs.args[1] is candidates
        assert candidates.args[1] is start


@pytest.mark.parametrize("choice", ["initial", "base"])
def test_the_reference_is_the_one_named(choice: str) -> None:
    rounds, stages = play(reference=choice)
    assert all(call.args[2] is rounds[0].policy for call in stages.made("train"))


def test_m0_judges_throughout_when_told_to() -> None:
    rounds, stages = play(judge_model="initial")
    assert all(call.args[2] is rounds[0].policy for call in stages.made("judge"))


def test_every_judge_is_measured_on_the_same_answers_of_m0() -> None:
    rounds, stages = play()
    (reference,) = stages.made("answer_reference")
    assert reference.args[1] is rounds[0].policy
    judged = [call for call in stages.made("judge_measured") if call.args[1] is reference]
    assert [call.args[2] for call in judged] == [done.policy for done in rounds]


def test_without_pairs_the_policy_stays() -> None:
    rounds, stages = play(kept=())
    assert stages.made("train") == []
    assert all(done.policy is rounds[0].policy for done in rounds)
    assert all(done.made.trained is None for done in rounds[1:])


def test_m0_writes_prompts_knowing_those_it_wrote_before() -> None:
    rounds, stages = play(select=object.__new__(SelfInstruct))
    prompts = [done.made.prompts for done in rounds[1:]]
    first = rounds[0].policy
    assert [call.args for call in stages.made("select")] == [
        (1, first), (2, first, prompts[0]), (3, first, prompts[0], prompts[1]),
    ]  # fmt: skip
    _, given = play()
    assert [call.args for call in given.made("select")] == [(1,), (2,), (3,)]


@pytest.mark.parametrize("measured", ["held_out", "reference_prompts"])
def test_a_prompt_that_is_measured_on_is_not_trained_on(measured: str) -> None:
    same = (Prompt.of("Name two animals.", "test"),)
    values = {
        "select": (Prompt.of("name  two ANIMALS.", "test"),),
        "held_out": (), "reference_prompts": (),
        "build_pairs": SimpleNamespace(kept=()), "check": NOTHING,
    } | {measured: same}  # fmt: skip
    with pytest.raises(UserError, match="held-out"):
        rounds_of(make_recipe(), 1, RecordingStages(values))


def alarm_at(number: int, best: str) -> Any:
    """A check that raises an alarm in one iteration, and names the best model then."""

    def check(iteration: int, **_: Any) -> SimpleNamespace:
        alarms = ("too many ties",) if iteration == number else ()
        return SimpleNamespace(alarms=alarms, best=SimpleNamespace(model=best))

    return check


def test_every_model_meets_the_one_before_and_m0() -> None:
    rounds, _ = play()
    for done in rounds:
        opponents = [item.opponent.policy for item in done.measured.comparisons]
        expected = {0: [], 1: [0], 2: [1, 0], 3: [2, 0]}[done.iteration]
        assert opponents == [rounds[number].policy for number in expected]
    for done in rounds:
        for item in done.measured.comparisons:
            _, mine, theirs, judge = item.comparisons.args
            assert (mine, theirs, judge) == (done.measured.sampled, item.opponent.sampled, None)
            assert item.result.args == (item.comparisons, mine, theirs)


def test_a_rating_is_of_all_that_has_met_so_far() -> None:
    rounds, stages = play()
    rated = stages.made("rate")
    assert [done.measured.ratings for done in rounds] == [None, *rated]
    names = [
        [(one.value.name, other.value.name) for one, other, _ in call.args[1]] for call in rated
    ]
    assert names[0] == [("M1", "M0")]
    assert names[2] == [("M1", "M0"), ("M2", "M1"), ("M2", "M0"), ("M3", "M2"), ("M3", "M0")]
    assert {id(call.args[0]) for call in rated} == {id(rounds[0].policy)}


def test_gains_are_over_the_parent_m0_and_the_baselines() -> None:
    cooler = type("Cooler", (str,), {"sampling": SimpleNamespace(temperature=0.4)})("cooler")
    rounds, _ = play(baselines=(cooler,))
    first, *later = (done.measured for done in rounds)
    assert first.gains is None
    ((temperature, answers, scores),) = first.baselines.args[0]
    assert (temperature, answers) == first.baseline_answers[0]
    assert scores.args[1] is answers
    evaluations = [done.evaluation for done in rounds]
    for number, measured in enumerate(later, 1):
        expected = (evaluations[number], evaluations[number - 1], evaluations[0], first.baselines)
        assert measured.gains.args == expected


def test_without_an_oracle_pairs_are_measured_and_gains_are_not() -> None:
    cooler = type("Cooler", (str,), {"sampling": SimpleNamespace(temperature=0.4)})("cooler")
    rounds, stages = play(score=None, baselines=(cooler,), arbiter="initial")
    assert {done.measured.gains for done in rounds} == {None}
    assert rounds[0].measured.baselines is None
    assert [call.args[2] for call in stages.made("measure_pairs")] == [None] * 3
    exact, stages = play()
    for done in exact[1:]:
        pairs, candidates, scores = done.measured.pair_quality.args
        assert (pairs, candidates) == (done.made.pairs, done.made.candidates)
        assert scores.args == (done.made.prompts, done.made.candidates)


def test_judges_are_compared_where_there_is_another_one_before() -> None:
    rounds, stages = play()
    judged = [done.measured.reference_judgments for done in rounds]
    assert [call.args for call in stages.made("measure_agreement")] == [
        (judged[1], judged[0]), (judged[2], judged[1]), (judged[3], judged[2])
    ]  # fmt: skip
    _, same = play(kept=())  # no pair is left, and the policy stays as it was
    assert same.made("measure_agreement") == []


def test_m0_compares_when_it_is_the_arbiter() -> None:
    rounds, stages = play(arbiter="initial")
    assert {id(call.args[3]) for call in stages.made("compare")} == {id(rounds[0].policy)}


@pytest.mark.parametrize("choices", [{"compare": None}, {"kept": ()}])
def test_nothing_is_compared_without_an_arbiter_or_with_a_policy_that_stayed(
    choices: dict[str, Any],
) -> None:
    rounds, stages = play(**choices)
    assert stages.made("compare") == []
    assert all(done.measured.comparisons == () for done in rounds)


def test_a_policy_that_stayed_does_not_meet_m0_twice() -> None:
    pairs = iter([("pair",), ()])
    recipe = make_recipe()
    values = {
        "select": (), "held_out": (), "reference_prompts": (), "check": NOTHING,
        "build_pairs": lambda *_: SimpleNamespace(kept=next(pairs)),
    }  # fmt: skip
    stages = RecordingStages(values)
    rounds = rounds_of(recipe, 2, stages)
    assert rounds[2].policy is rounds[1].policy
    assert [len(done.measured.comparisons) for done in rounds] == [0, 1, 0]
    assert len(stages.made("compare")) == 1


def test_what_was_loaded_is_let_go_after_every_iteration() -> None:
    _, stages = play(iterations=3)
    assert stages.forgot == 3


def test_the_arbiter_is_let_go_after_every_model_even_when_it_fails() -> None:
    closed: list[int] = []
    play(close_arbiter=lambda: closed.append(1))
    assert len(closed) == 3

    def fail(*_: Any) -> None:
        raise UserError("no room")

    values = {"compare": fail}
    stages = RecordingStages({})
    stages.values = values | {
        "select": (), "held_out": (), "reference_prompts": (), "check": NOTHING,
        "build_pairs": SimpleNamespace(kept=("pair",)),
    }  # fmt: skip
    with pytest.raises(UserError, match="no room"):
        rounds_of(make_recipe(close_arbiter=lambda: closed.append(1)), 1, stages)
    assert len(closed) == 4


def test_each_check_sees_its_iteration_and_the_check_before() -> None:
    rounds, stages = play()
    checks = stages.made("check")
    assert [call.kwargs["iteration"] for call in checks] == [0, 1, 2, 3]
    given = {name for name, value in checks[0].kwargs.items() if value is not None}
    assert given == {"iteration", "policy", "evaluation"}
    for before, call, done in zip(checks, checks[1:], rounds[1:], strict=False):
        seen = call.kwargs
        assert (seen["policy"], seen["before"]) == (done.policy, before)
        assert (seen["candidates"], seen["pairs"]) == (done.made.candidates, done.made.pairs)
        assert seen["parent"] is rounds[done.iteration - 1].policy
        assert seen["to_initial"].args[2] is rounds[0].measured.sampled
        assert seen["to_parent"].args[2] is rounds[done.iteration - 1].measured.sampled


def test_m0_also_answers_at_lower_temperatures_once() -> None:
    baselines = tuple(
        type("Cooler", (str,), {"sampling": SimpleNamespace(temperature=heat)})(f"at {heat}")
        for heat in (0.7, 0.4)
    )
    rounds, _ = play(baselines=baselines)
    assert [heat for heat, _ in rounds[0].measured.baseline_answers] == [0.7, 0.4]
    assert all(done.measured.baseline_answers == () for done in rounds[1:])
    answers = [stored for _, stored in rounds[0].measured.baseline_answers]
    assert all(stored.args[1] is rounds[0].policy for stored in answers)


def test_without_an_oracle_each_policy_meets_what_m0_writes_without_learning() -> None:
    cooler = type("Cooler", (str,), {"sampling": SimpleNamespace(temperature=0.4)})("cooler")
    rounds, stages = play(iterations=2, baselines=(cooler,), arbiter="initial")
    first, _, last = (done.measured for done in rounds)
    assert first.against_baselines == ()
    assert [item.baseline for item in last.against_baselines] == ["temperature 0.4", "greedy"]
    cold, greedy = (item.comparisons.args for item in last.against_baselines)
    # The prompts, the answers, M0's, and M0 as the judge.
    assert cold[1:] == (last.sampled, first.baseline_answers[0][1], rounds[0].policy)
    assert greedy[1:] == (last.greedy, first.greedy, rounds[0].policy)
    assert len(stages.made("compare")) == 1 + 2 + 2 * 2

    # An oracle has scored the baselines, and without any there is nothing to meet.
    scored, _ = play(iterations=1, baselines=(cooler,), arbiter="oracle")
    alone, _ = play(iterations=1, arbiter="initial")
    nobody, _ = play(iterations=1, baselines=(cooler,), arbiter="none", compare=None)
    assert {done[-1].measured.against_baselines for done in (scored, alone, nobody)} == {()}


def test_a_warning_changes_nothing() -> None:
    usual, _ = play()
    warned, _ = play(check=alarm_at(2, "M1"))
    assert [done.policy.key for done in warned] == [done.policy.key for done in usual]


def test_an_alarm_can_end_the_run_with_the_iteration_done() -> None:
    rounds, stages = play(check=alarm_at(2, "M1"), on_alarm="stop")
    assert [done.iteration for done in rounds] == [0, 1, 2]
    assert [done.measured.stops for done in rounds] == [False, False, True]
    assert len(stages.made("select")) == 2


def test_an_alarm_can_send_the_run_back_to_its_best_model() -> None:
    rounds, stages = play(check=alarm_at(2, "M1"), on_alarm="keep_best")
    m1, m3 = rounds[1], rounds[3]
    assert [done.iteration for done in rounds] == [0, 1, 2, 3]
    # Iteration 3 is written, judged, trained and measured from M1.
    assert m3.made.start is m1.policy
    assert m3.made.candidates.args[1] is m1.policy
    assert stages.made("judge")[2].args[2] is m1.policy
    assert stages.made("train")[2].args[:3] == (3, m1.policy, m1.policy)
    assert m3.measured.parent is m1.measured
    assert [item.opponent.policy for item in m3.measured.comparisons] == [
        m1.policy,
        rounds[0].policy,
    ]


def test_the_best_model_may_be_the_one_with_the_alarm() -> None:
    rounds, _ = play(check=alarm_at(2, "M2"), on_alarm="keep_best")
    assert rounds[3].made.start is rounds[2].policy
