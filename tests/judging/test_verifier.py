"""A verifier as the judge: its scores, and what it does that is no score."""

from __future__ import annotations

import signal
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import initialize_config_dir

from iterdpo.assemble import make_judge
from iterdpo.cli import execute as run
from iterdpo.cli.overrides import check
from iterdpo.config.compose import composed, conf_directory, typed
from iterdpo.engines.scripted import ScriptedEngine
from iterdpo.errors import ConfigError, UserError
from iterdpo.judging.asking import ask, groups_of
from iterdpo.judging.base import Judge
from iterdpo.judging.verifier import VerifierJudge
from iterdpo.records import Judgment, Prompt, Scored, Unscored, UnscoredReason
from iterdpo.runs.directory import Run
from iterdpo.settings import identity
from iterdpo.verifiers import process
from iterdpo.verifiers.ifeval import IfEval
from iterdpo.verifiers.number import Number
from iterdpo.verifiers.pattern import Regex
from tests.checkpoints import CheckpointOf
from tests.judging.rankers import POLICY, candidate, unscored
from tests.made_run import answer, config_of

PROMPT = Prompt.of("What is 6 * 7?", "t", reference="42")
OWN = '''
import os
from dataclasses import dataclass

from iterdpo.verifiers import Verifier


@dataclass(frozen=True)
class Own(Verifier):
    """Does what an answer says."""

    perfect: float = 2.0

    def knows(self, prompt):
        return prompt.reference is not None

    def score(self, prompt, response):
        if response == "loop":
            while True:
                pass
        if response == "leave":
            os._exit(3)
        if response == "raise":
            raise ValueError("no\\nsuch thing")
        return {"text": "1", "high": 3.0, "nan": float("nan"), "none": None, "true": True,
                "list": [1]}.get(response, len(response) / 4)


class Held:
    def __init__(self):
        self.call = lambda: 1


@dataclass(frozen=True)
class Closed(Own):
    held = None

    def __getstate__(self):
        return {"held": lambda: 1}
'''


def judgments(judge: Judge, texts: list[str], prompt: Prompt = PROMPT) -> list[Judgment]:
    answers = [candidate(prompt, n, text) for n, text in enumerate(texts)]
    groups = groups_of([prompt], answers, judge)
    return [item for made in ask(judge, groups, POLICY) for item in made]


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., VerifierJudge]]:
    """A function from settings to a judge whose verifier is a class in a file of one's own."""
    name = f"verifier_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(textwrap.dedent(OWN))
    monkeypatch.chdir(tmp_path)
    made: list[VerifierJudge] = []

    def get(kind: str = "Own", **settings: Any) -> VerifierJudge:
        made.append(VerifierJudge(verifier={"_target_": f"{name}.py:{kind}"}, **settings))
        return made[-1]

    yield get
    for judge in made:
        judge.close()


def test_scores_are_the_verifiers_and_named_by_it() -> None:
    judge = VerifierJudge(verifier=Number())
    made = judgments(judge, ["so 42", "43", "#### 42"])
    judge.close()
    assert [item.verdict for item in made] == [Scored(1.0), Scored(0.0), Scored(1.0)]
    assert {item.judge for item in made} == {judge.fingerprint}
    assert judge.scale == (0.0, 1.0)
    assert made[0].raw == ("1.0",)
    (unknown,) = judgments(judge, ["42"], Prompt.of("Why?", "t"))
    judge.close()
    assert unknown.verdict == Unscored(UnscoredReason.NO_VERDICT, "does not know this prompt")


def test_what_goes_wrong_in_it_is_the_reason_of_that_answer_alone(
    own: Callable[..., VerifierJudge],
) -> None:
    texts = ["four", "raise", "leave", "text", "high", "nan", "none", "list", "true", "twos"]
    made = [item.verdict for item in judgments(own(), texts)]
    failed = {
        text: verdict.raw
        for text, verdict in zip(texts, made, strict=True)
        if isinstance(verdict, Unscored) and verdict.reason is UnscoredReason.FAILED
    }
    assert {texts[n]: item.score for n, item in enumerate(made) if isinstance(item, Scored)} == {
        "four": 1.0, "true": 1.0, "twos": 1.0
    }  # fmt: skip
    assert failed.pop("raise").startswith("ValueError: no such thing, verifier_")
    assert failed.pop("list").startswith("TypeError: ")
    assert failed == {
        "leave": "its process ended with status 3",
        "text": '"1" is no score from 0 to 2',
        "high": "3.0 is no score from 0 to 2",
        "nan": "NaN is no score from 0 to 2",
        "none": "null is no score from 0 to 2",
    }


def test_what_never_ends_is_stopped_and_the_next_answer_is_scored(
    own: Callable[..., VerifierJudge],
) -> None:
    judge = own(seconds=0.2)
    made = [item.verdict for item in judgments(judge, ["four", "loop"])]
    assert made == [
        Scored(1.0),
        Unscored(UnscoredReason.TIMED_OUT, "took more than 0.2 seconds"),
    ]
    (again,) = judgments(judge, ["four"])
    assert again.verdict == Scored(1.0)


def test_a_time_limit_of_its_own_is_one_too() -> None:
    # (a|aa)+ tries every way to cut 60 letters up: Fibonacci many, about 10 ** 12.
    judge = VerifierJudge(verifier=Regex(pattern="^(a|aa)+$", seconds=0.05))
    made = judgments(judge, ["a" * 60 + "b", "aaa"])
    judge.close()
    assert unscored(made[0]).reason is UnscoredReason.TIMED_OUT
    assert unscored(made[0]).raw.startswith("TimeoutError: ")
    assert made[1].verdict == Scored(1.0)


def test_its_process_ends_by_itself_where_the_run_was_killed(
    own: Callable[..., VerifierJudge], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "_GRACE_SECONDS", 0.1)
    judge = own(seconds=0.1)
    judgments(judge, ["four"])
    judge._process._pipe.send((PROMPT, "loop"))  # and nobody waits for the answer
    child = judge._process._process
    assert child is not None
    assert child.wait(60) == -signal.SIGALRM


def test_one_that_cannot_be_made_in_another_process_is_one_line(
    own: Callable[..., VerifierJudge],
) -> None:
    with pytest.raises(UserError, match=r"^judge\.verifier: Closed cannot be made in a process "):
        judgments(own("Closed"), ["four"])


def test_it_counts_by_its_verifier_and_the_time_it_has(own: Callable[..., VerifierJudge]) -> None:
    keys = [
        identity(VerifierJudge(verifier=IfEval(accuracy="loose"))),
        identity(VerifierJudge(verifier={"_target_": "iterdpo.verifiers.ifeval.IfEval"})),
        identity(VerifierJudge(verifier=IfEval(), seconds=1.0)),
        identity(own()),
    ]
    assert len({repr(key) for key in keys}) == 4
    assert identity(VerifierJudge(verifier=IfEval())) == keys[1]
    assert keys[1] == {
        "name": "verifier",
        "version": 1,
        "settings": {"seconds": 5.0},
        "verifier": {
            "name": "ifeval",
            "version": 1,
            "settings": {"accuracy": "strict", "level": "instruction"},
        },
    }
    assert "source" in str(keys[3]["verifier"])


def configured(*overrides: str) -> Any:
    ready = check(list(overrides))
    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        return typed(composed(ready))


def test_one_verifier_is_chosen_by_name_as_judge_and_as_oracle() -> None:
    config = configured(
        "judge=verifier", "verifier@judge.verifier=ifeval", "judge.verifier.accuracy=loose",
        "evaluation=verifier", "verifier@evaluation.oracle=ifeval",
    )  # fmt: skip
    judge = make_judge(config, ScriptedEngine(lambda *_: ""))
    assert isinstance(judge, VerifierJudge)
    assert judge._verifier == IfEval(accuracy="loose")
    assert config.evaluation.oracle.values == {
        "_target_": "iterdpo.verifiers.ifeval.IfEval", "accuracy": "strict",
        "level": "instruction",
    }  # fmt: skip


def test_one_of_ones_own_is_named_and_set_on_the_command_line(
    own: Callable[..., VerifierJudge], tmp_path: Path
) -> None:
    target = f"verifier_{tmp_path.name}.py:Own"
    custom = "verifier@judge.verifier=custom"
    chosen = [
        "judge=verifier",
        custom,
        f"judge.verifier._target_={target}",
    ]
    config = configured(*chosen, "judge.verifier.perfect=4")
    judge = make_judge(config, ScriptedEngine(lambda *_: ""))
    assert judge.scale == (0.0, 4.0)
    with pytest.raises(ConfigError, match=r"^judge\.verifier\.prefect: no such setting of verif"):
        configured(*chosen, "judge.verifier.prefect=4")
    with pytest.raises(ConfigError, match=r"^judge\.verifier\._target_=.*Held: is no Verifier; de"):
        configured(*chosen[:2], f"judge.verifier._target_={target.replace('Own', 'Held')}")
    with pytest.raises(ConfigError, match=r"^judge\.verifier: Own has perfect=0\.0; its highest "):
        configured(*chosen, "judge.verifier.perfect=0")
    with pytest.raises(ConfigError, match=r"^judge\.verifier\.tolerance=-1: "):
        configured("judge=verifier", "judge.verifier.tolerance=-1")


@pytest.mark.slow
def test_a_whole_run_is_judged_and_measured_by_one_verifier(
    checkpoint_of: CheckpointOf, tmp_path: Path
) -> None:
    chosen = ["verifier@judge.verifier=regex", "judge.verifier.pattern='answer number [23]'"]
    config = config_of(
        tmp_path,
        checkpoint_of("llama"),
        "iterations=1",
        "evaluation=verifier",
        "verifier@evaluation.oracle=regex",
        "evaluation.oracle.pattern='answer number [23]'",
        "evaluation.baseline_temperatures=[]",
        judge=["judge=verifier", *chosen],
    )
    run.execute(config, tmp_path / "run", ScriptedEngine(answer=answer, vocabulary=200))
    made = Run.open(tmp_path / "run").made(1)
    # Samples 0 to 3 of 6 prompts, of which 2 and 3 are right.
    assert [item.score for item in made.judgments] == [0.0, 0.0, 1.0, 1.0] * 6
    assert made.pairs
    assert all(pair.chosen.split()[4] in "23" for pair in made.pairs)
    assert all(pair.rejected.split()[4] in "01" for pair in made.pairs)
