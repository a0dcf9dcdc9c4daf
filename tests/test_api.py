"""The loop from Python: objects in the places of classes, and what a run holds as tables."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hydra import compose, initialize_config_dir

import iterdpo
from iterdpo import api
from iterdpo.assemble.engines import make_engine
from iterdpo.assemble.judges import make_judge
from iterdpo.config.choices import as_values
from iterdpo.config.compose import conf_directory, typed
from iterdpo.config.schema import Config
from iterdpo.engines.scripted import ScriptedEngine
from iterdpo.errors import ConfigError, UserError
from iterdpo.judging import PromptJudge
from iterdpo.records import Candidate, Judgment, Pair, Prompt
from iterdpo.runs.directory import Run
from iterdpo.settings import Provided


@dataclass(frozen=True)
class Longest(PromptJudge):
    """Scores by length."""

    most: int = 9
    seed: Provided[int] = 0

    def verdicts(self, prompt: Prompt, candidates: Sequence[Candidate]) -> Sequence[float]:
        return [float(min(len(item.text), self.most)) for item in candidates]


def config_with(**given: object) -> Config:
    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        return typed(compose("config", ["engine.device=cpu"]), given)


def test_an_object_takes_the_place_of_the_configured_class() -> None:
    judge = Longest(most=4)
    config = config_with(judge=judge)
    written = json.loads(json.dumps(as_values(config)))["judge"]
    assert written == {"min_scored": 0.5, "_target_": f"{__name__}.Longest", "most": 4}
    made = make_judge(config, ScriptedEngine(lambda *_: ""))
    assert isinstance(made, Longest)
    assert (made.most, made.seed) == (4, config.seed)  # what a run provides is put in
    assert make_engine(config_with()).identity["device"] == "cpu"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (3, "judge: is int; give an object whose class derives from iterdpo.judging.PromptJudge"),
        (Longest, "judge: is a class, not an object of it; give an object whose class derives"),
    ],
)
def test_what_is_no_judge_is_refused(given: object, said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        config_with(judge=given)
    (line,) = raised.value.problems
    assert line.startswith(said)


def test_overrides_are_a_list_and_are_checked_as_on_the_command_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"give a list of texts, \['iterations=1'\]"):
        iterdpo.run("iterations=1", directory=tmp_path)
    with pytest.raises(ConfigError, match="iterations=0: "):
        iterdpo.run(["iterations=0"], directory=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_directory_without_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run there"):
        iterdpo.load(tmp_path)


@pytest.fixture(scope="module")
def opened(finished_run: Path) -> api.RunResult:
    return iterdpo.load(finished_run)


@pytest.mark.parametrize(
    ("table", "kind"),
    [("prompts", Prompt), ("candidates", Candidate), ("judgments", Judgment), ("pairs", Pair)],
)
def test_each_table_has_a_row_for_each_record(
    opened: api.RunResult, finished_run: Path, table: str, kind: type[Any]
) -> None:
    run = Run.open(finished_run)
    frame: pd.DataFrame = getattr(opened, table)
    records = [item for number in (1, 2) for item in getattr(run.made(number), table)]
    assert list(frame["id"]) == [item.id for item in records]
    assert set(frame["iteration"]) == {1, 2}
    assert all(isinstance(item, kind) for item in records)


def test_tables_name_models_and_keep_what_was_said(opened: api.RunResult) -> None:
    assert list(opened.policies["model"]) == ["M0", "M1", "M2"]
    assert list(opened.policies["parent"])[1:] == ["M0", "M1"]
    assert set(opened.candidates["model"]) == {"M0", "M1"}
    assert (opened.judgments["score"].isna() == opened.judgments["unscored"].notna()).all()
    margins = opened.pairs["chosen_score"] - opened.pairs["rejected_score"]
    assert (opened.pairs["margin"] == margins).all()
    assert list(opened.evaluations["model"]) == ["M0", "M1", "M2"]
    for name, model in zip(opened.policies["model"], opened.summary.models, strict=True):
        assert model.name == name
    assert opened.best in set(opened.policies["model"])
    assert opened.policy("M1").parent == opened.policies["fingerprint"][0]


def test_the_page_is_written(opened: api.RunResult, tmp_path: Path) -> None:
    page = opened.report(tmp_path / "page.html").read_text("utf-8")
    assert page.lstrip().startswith("<!doctype html>")
    assert str(opened.directory) in repr(opened)


def test_the_api_is_loaded_only_when_it_is_asked_for() -> None:
    assert iterdpo.run is api.run
    with pytest.raises(AttributeError, match="no attribute 'walk'"):
        _ = iterdpo.walk
