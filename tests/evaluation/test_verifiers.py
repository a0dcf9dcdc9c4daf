"""Exact scores by ours and by a user's own class, which gets the whole prompt."""

from __future__ import annotations

import math
from pathlib import Path
from typing import cast

import pytest
from hydra import compose, initialize_config_dir

from iterdpo.config.choices import Choice, build
from iterdpo.config.compose import conf_directory, typed
from iterdpo.errors import ConfigError, UserError
from iterdpo.evaluation.oracles import LAB, LabOracle
from iterdpo.evaluation.verifiers import require_known, score_answer
from iterdpo.prompts.lab import LabPrompts
from iterdpo.records import Prompt
from iterdpo.settings import identity
from iterdpo.verifiers.base import Verifier
from iterdpo.verifiers.pattern import Regex

EXACT_MATCH = '''
from dataclasses import dataclass

from iterdpo.evaluation import Verifier


@dataclass(frozen=True)
class ExactMatch(Verifier):
    """1 for an answer that is the reference, 0 for any other."""

    fold: bool = False

    def knows(self, prompt):
        return prompt.reference is not None

    def score(self, prompt, response):
        said, right = response.strip(), prompt.reference
        return said.lower() == right.lower() if self.fold else said == right
'''
RIGHT = Prompt.of("What is 2 + 2?", "sums.jsonl, line 1", reference="Four")


def configured(*overrides: str) -> Choice:
    """Return the oracle that the configuration chooses."""
    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        chosen = typed(compose("config", ["evaluation=custom", *overrides])).evaluation.oracle
    assert chosen is not None
    return chosen


@pytest.fixture
def exact_match(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    # Named for this test: a module of one name is imported once a process.
    file = tmp_path / f"verifier_{tmp_path.name}.py"
    file.write_text(EXACT_MATCH)
    return file


def test_a_verifier_of_ones_own_compares_with_the_reference(exact_match: Path) -> None:
    target = f"evaluation.oracle._target_={exact_match.name}:ExactMatch"
    strict = build("evaluation.oracle", configured(target))
    folding = build("evaluation.oracle", configured(target, "+evaluation.oracle.fold=true"))
    answers = ["Four", " Four\n", "four", "five"]
    assert [score_answer(strict, RIGHT, text) for text in answers] == [1, 1, 0, 0]
    assert [score_answer(folding, RIGHT, text) for text in answers] == [1, 1, 1, 0]
    with pytest.raises(UserError, match=r'ExactMatch scores no answers to "Why\?" \(.*line 2\);'):
        score_answer(strict, Prompt.of("Why?", "sums.jsonl, line 2"), "Because.")


def test_a_verifier_counts_by_its_source_and_settings(exact_match: Path) -> None:
    target = f"evaluation.oracle._target_={exact_match.name}:ExactMatch"
    strict = identity(build("evaluation.oracle", configured(target)))
    folding = identity(
        build("evaluation.oracle", configured(target, "+evaluation.oracle.fold=true"))
    )
    assert strict["source"] == folding["source"]
    assert (strict["settings"], folding["settings"]) == ({"fold": False}, {"fold": True})
    assert identity(LabOracle()) == {"name": "lab", "version": 1}


def test_what_is_no_verifier_is_refused_at_the_door(exact_match: Path) -> None:
    with pytest.raises(ConfigError, match=r"BestWorst: is no Verifier; derive the class from "):
        configured("evaluation.oracle._target_=iterdpo.pairing.best_worst.BestWorst")
    with pytest.raises(ConfigError, match=r"evaluation\.oracle\._target_=.*there is no module no"):
        configured("evaluation.oracle._target_=no.such.Verifier")
    exact_match.write_text(EXACT_MATCH.replace("fold: bool", "perfect: float = 0\n    fold: bool"))
    with pytest.raises(ConfigError, match=r"^evaluation\.oracle: ExactMatch has perfect=0; "):
        configured(f"evaluation.oracle._target_={exact_match.name}:ExactMatch")


@pytest.mark.parametrize("score", [1.5, -0.1, math.nan, math.inf, None, "1"])
def test_what_is_no_score_is_one_line(score: float | str | None) -> None:
    class Wrong(Verifier):
        def score(self, prompt: Prompt, response: str) -> float:
            return cast("float", score)

    said = r'^evaluation\.oracle: Wrong gives "Four" a score of .*; a score is .* its perfect=1$'
    with pytest.raises(UserError, match=said) as caught:
        score_answer(Wrong(), RIGHT, "Four")
    assert repr(score) in str(caught.value)


def test_what_it_raises_is_one_line_and_keeps_its_cause() -> None:
    said = r'^evaluation\.oracle: Regex: "aaa.*: TimeoutError: '
    with pytest.raises(UserError, match=said) as caught:
        score_answer(Regex(pattern=r"^(a|aa)+$", seconds=0.05), RIGHT, "a" * 60 + "b")
    assert isinstance(caught.value.__cause__, TimeoutError)


def test_the_labs_oracle_is_found_by_its_name() -> None:
    assert isinstance(build("evaluation.oracle", Choice(LAB, {})), LabOracle)


def test_a_verifier_from_python_is_checked_where_the_configuration_chose_none() -> None:
    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        composed = compose("config", ["evaluation=judge"])
        with pytest.raises(ConfigError, match=r"evaluation\.oracle: is int; give an object"):
            typed(composed, {"evaluation.oracle": 5})
        chosen = typed(composed, {"evaluation.oracle": LabOracle()}).evaluation.oracle
    assert chosen is not None
    assert isinstance(build("evaluation.oracle", chosen), LabOracle)


def test_a_prompt_that_the_oracle_does_not_know_is_told_before_it_is_answered() -> None:
    require_known(LabOracle(), LabPrompts().evaluation(1, 0)[0])
    with pytest.raises(UserError, match=r"LabOracle scores no answers to .*What is 2 \+ 2"):
        require_known(LabOracle(), RIGHT)
