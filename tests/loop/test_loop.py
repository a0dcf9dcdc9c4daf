"""The algorithm alone: which stage gets what, with stages that only remember their arguments."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from iterdpo import loop
from iterdpo.errors import UserError
from iterdpo.records import Prompt


@dataclass
class Recorded:
    """A stored result that knows what it was made from."""

    name: str
    args: tuple[Any, ...]
    value: Any = None


@dataclass
class RecordingStages:
    """Runs nothing: returns what the script says, and keeps every call."""

    values: dict[str, Any]
    calls: list[Recorded] = field(default_factory=list)

    def run(self, stage: str, *args: Any) -> Recorded:
        self.calls.append(Recorded(stage, args, self.values.get(stage)))
        return self.calls[-1]

    def made(self, stage: str) -> list[Recorded]:
        return [call for call in self.calls if call.name == stage]


STAGES = (
    "base select held_out labelled generate answer answer_greedily answer_fixed judge "
    "judge_measured build_pairs train measure"
).split()


def make_recipe(**choices: str) -> SimpleNamespace:
    chosen = {"judge_model": "current", "reference": "previous"} | choices
    checks = {name: lambda *args: None for name in ("require_pairs", "require_scored")}
    return SimpleNamespace(**{name: name for name in STAGES}, **chosen, **checks)


def play(iterations: int = 3, kept: tuple[str, ...] = ("pair",), **choices: str):
    prompts = {
        "select": (Prompt.of("to train on", "test"),),
        "held_out": (Prompt.of("to measure on", "test"),),
        "labelled": (Prompt.of("to judge on", "test"),),
        "build_pairs": SimpleNamespace(kept=kept),
    }
    stages = RecordingStages(prompts)
    rounds = list(loop.run(make_recipe(**choices), iterations, stages))
    return rounds, stages


def test_m0_is_measured_first_and_then_each_policy():
    rounds, stages = play()
    assert [done.iteration for done in rounds] == [0, 1, 2, 3]
    assert rounds[0].made is None
    assert rounds[0].policy.name == "base"
    measured = [call.args[1] for call in stages.made("answer")]
    assert measured == [done.policy for done in rounds]


def test_each_policy_writes_judges_and_becomes_the_next():
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
def test_the_reference_is_the_one_named(choice):
    rounds, stages = play(reference=choice)
    assert all(call.args[2] is rounds[0].policy for call in stages.made("train"))


def test_m0_judges_throughout_when_told_to():
    rounds, stages = play(judge_model="initial")
    assert all(call.args[2] is rounds[0].policy for call in stages.made("judge"))


def test_every_judge_is_measured_on_the_same_answers_of_m0():
    rounds, stages = play()
    (fixed,) = stages.made("answer_fixed")
    assert fixed.args[1] is rounds[0].policy
    judged = [call for call in stages.made("judge_measured") if call.args[1] is fixed]
    assert [call.args[2] for call in judged] == [done.policy for done in rounds]


def test_without_pairs_the_policy_stays():
    rounds, stages = play(kept=())
    assert stages.made("train") == []
    assert all(done.policy is rounds[0].policy for done in rounds)
    assert all(done.made.trained is None for done in rounds[1:])


@pytest.mark.parametrize("measured", ["held_out", "labelled"])
def test_a_prompt_that_is_measured_on_is_not_trained_on(measured):
    same = (Prompt.of("Name two animals.", "test"),)
    values = {
        "select": (Prompt.of("name  two ANIMALS.", "test"),), "held_out": (), "labelled": (),
        "build_pairs": SimpleNamespace(kept=()),
    } | {measured: same}  # fmt: skip
    with pytest.raises(UserError, match="held-out"):
        list(loop.run(make_recipe(), 1, RecordingStages(values)))
