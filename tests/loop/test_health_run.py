"""What an alarm does to a run, and what the fixed judge says of it: scripted, so that
every number can be worked out by hand.
"""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from iterdpo.assemble import assemble
from iterdpo.cli import execute as run
from iterdpo.cli import plan
from iterdpo.engines.scripted import ScriptedScores
from iterdpo.evaluation.summary import EarlyStop
from iterdpo.evaluation.summary_file import read_summary
from iterdpo.models.chat_messages import Request
from iterdpo.records import Comparison, Policy
from iterdpo.runs.directory import Run
from tests.loop.test_scripted_run import Scripted, number_of, scripted  # noqa: F401
from tests.narrowing import present


def answer(request: Request, policy: Policy, sample: int) -> str:
    """The longer, the later the sample; who wrote it is in the text."""
    return f"{policy.name} answer number {sample}" + " more" * sample


def choose(winner: str, asked: list[str] | None = None) -> ScriptedScores:
    """Scores 0, 1, 2 for the samples, so the longest is chosen; side by side, ``winner`` wins.

    ``asked`` is given the name of each policy that compares.
    """

    def choice(request: Request, policy: Policy) -> dict[str, float]:
        text = request.messages[-1].content
        if "<response_1>" not in text:
            return {str(number_of(text)): 1.0}
        if asked is not None:
            asked.append(policy.name)
        first = text.split("<response_1>\n")[1]
        return {"1": 0.8, "2": 0.2} if first.startswith(winner) else {"1": 0.1, "2": 0.9}

    return choice


MEASURED = ("evaluation.prompts=3", "evaluation.samples=2", "prompts.held_out_share=0.4")


def test_m0_compares_in_both_orders_and_every_comparison_is_kept(
    scripted: Scripted, tmp_path: Path
) -> None:
    asked: list[str] = []
    config, engine = scripted(answer, choose("M1", asked), *MEASURED)
    result = run.execute(config, tmp_path / "run", engine)
    (met,) = result.comparisons
    assert (met.model, met.opponent, met.judge) == ("M1", "M0", "initial")
    found = met.result
    assert (found.prompts, found.wins, found.ties, found.losses) == (3, 6, 0, 0)
    assert (found.flips, found.unscored, found.reasons) == (0, 0, {})
    assert present(found.win_rate).mean == 1.0
    assert asked == ["M0"] * 12  # 3 prompts, 2 answers each, both orders
    records = Run.open(tmp_path / "run").records(met.stage, Comparison)
    assert {item.judge for item in records} == {result.models[0].fingerprint}
    assert all(item.forward == pytest.approx(0.8) for item in records)
    assert all(item.backward == pytest.approx(0.9) for item in records)
    assert result.best.by == "head_to_head"
    assert result.best.model == "M0"  # three prompts without a loss prove nothing
    assert result.models[1].gains is None  # which is in an oracle's points
    assert result.ratings[1].rating > 0


def test_m0_as_sharp_as_the_model_is_compared_as_well(scripted: Scripted, tmp_path: Path) -> None:
    asked: list[str] = []
    config, engine = scripted(
        answer, choose("M1", asked), *MEASURED, "evaluation.baseline_temperatures=[0.4]"
    )
    result = run.execute(config, tmp_path / "run", engine)
    cold, greedy = result.against_baselines
    assert [item.baseline for item in (cold, greedy)] == ["temperature 0.4", "greedy"]
    assert {(item.model, item.opponent) for item in (cold, greedy)} == {("M1", "M0")}
    assert (cold.result.prompts, cold.result.wins) == (3, 6)
    assert (greedy.result.prompts, greedy.result.wins) == (3, 3)
    assert present(cold.result.win_rate).mean == 1.0
    assert asked == ["M0"] * (12 + 12 + 6)
    # They are no part of what models are ranked by.
    assert len(result.comparisons) == 1
    assert len(result.ratings) == 2
    assert result.temperature_baselines == ()  # which an oracle would have scored


def test_a_judge_that_cannot_be_read_is_counted_with_its_reason(
    scripted: Scripted, tmp_path: Path
) -> None:
    def silent(request: Request, policy: Policy) -> dict[str, float]:
        text = request.messages[-1].content
        return {} if "<response_1>" in text else {str(number_of(text)): 1.0}

    config, engine = scripted(answer, silent, *MEASURED)
    (met,) = run.execute(config, tmp_path / "run", engine).comparisons
    found = met.result
    assert (found.prompts, found.unscored, found.reasons) == (0, 6, {"no_mass": 6})
    assert (found.win_rate, found.length_controlled, found.standard_error) == (None, None, None)


def test_an_alarm_ends_the_run_when_told_to(
    scripted: Scripted,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # Chosen answers have 6 words, rejected ones 4: 1.5 times as many.
    config, engine = scripted(
        answer, choose("M1"), *MEASURED, "iterations=3", "health.on_alarm=stop",
        "evaluation.arbiter=none",
    )  # fmt: skip
    with caplog.at_level(logging.WARNING):
        result = run.execute(config, tmp_path / "run", engine)
    assert [model.name for model in result.models] == ["M0", "M1"]
    (alarm,) = result.alarms
    assert (alarm.iteration, alarm.name) == (1, "max_length_ratio")
    assert alarm.value == pytest.approx(1.5)
    assert alarm.threshold == 1.25
    assert "chosen answers are 1.50 times as long" in caplog.text
    said = "stopped after iteration 1 of 3 by health.on_alarm=stop (max_length_ratio)"
    assert result.stopped == EarlyStop(1, said)
    assert said in capsys.readouterr().out
    assert result == read_summary(tmp_path / "run")
    assert (result.comparisons, result.ratings) == ((), ())
    assert result.best.by == "judge"
    # With iterations=1 nothing is left to stop.
    config, engine = scripted(
        answer, choose("M1"), *MEASURED, "iterations=1", "health.on_alarm=stop",
        "evaluation.arbiter=none",
    )  # fmt: skip
    assert run.execute(config, tmp_path / "again", engine).stopped is None


def test_an_alarm_sends_the_run_back_and_the_plan_follows(
    scripted: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    config, engine = scripted(
        answer, choose("M0"), *MEASURED, "iterations=2", "health.on_alarm=keep_best"
    )
    result = run.execute(config, tmp_path / "run", engine)
    m0, m1, m2 = result.models
    assert [item.name for item in result.alarms] == ["max_length_ratio"] * 2
    assert (m1.parent, m2.parent) == ("M0", "M0")  # where iteration 2 really started
    assert len({m0.fingerprint, m1.fingerprint, m2.fingerprint}) == 3
    assert result.best.model == "M0"
    again = Run.open(tmp_path / "run")
    assert {item.policy for item in again.made(2).candidates} == {m0.fingerprint}
    assert {item.judge for item in again.made(2).judgments} == {m0.fingerprint}
    assert again.policies["M2"].parent == m0.fingerprint
    met = [(item.model, item.opponent) for item in result.comparisons]
    assert met == [("M1", "M0"), ("M2", "M0")]

    monkeypatch.setattr(plan, "assemble", lambda config, place: assemble(config, place, engine))
    planned = [step for _, steps in plan.plan(config) for step in steps]
    assert {step.state for step in planned} == {"cached"}
    assert sum(step.stage == "health" for step in planned) == 3
