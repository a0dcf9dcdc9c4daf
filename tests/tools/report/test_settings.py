"""Settings side by side, and the command that repeats a run."""

from __future__ import annotations

import shlex
from pathlib import Path

from iterdpo.runs.directory import Run
from iterdpo.tools.report import settings
from tests.tools.report.made_runs import MadeRun

SCORES = [{"p": [3.0]}, {"p": [4.0]}]


def test_nested_values_are_flat_and_texts_stand_without_quotes() -> None:
    values = {"a": {"b": 1, "c": {"d": "text"}}, "e": [1, "x"], "f": None, "g": True, "h": 0.1}
    assert settings.flat(values) == {
        "a.b": "1", "a.c.d": "text", "e": '[1, "x"]', "f": "null", "g": "true", "h": "0.1",
    }  # fmt: skip


def test_what_is_not_as_shipped_is_named_on_both_sides() -> None:
    assert settings.changed({"a": "1", "b": "2", "new": "3"}, {"a": "1", "b": "5", "old": "4"}) == [
        ("b", "2", "5"), ("new", "3", "not there"), ("old", "not there", "4"),
    ]  # fmt: skip


def test_the_shipped_settings_are_those_that_a_run_has_when_nothing_is_said() -> None:
    shipped = settings.shipped()
    assert shipped["iterations"] == "3"
    assert shipped["model.path"] == "lab"


def test_the_command_is_safe_to_give_to_a_shell(tmp_path: Path) -> None:
    overrides = ["judge.system='; rm -rf $HOME'", "training.loss=[sigmoid,sft]",
                 "training.loss_weights=[1.0,0.2]"]  # fmt: skip
    run = MadeRun(tmp_path / "run", tmp_path / "store", overrides, scores=SCORES).write()
    command = settings.command(Run.open(run))
    assert command
    assert shlex.split(command) == ["python", "-m", "iterdpo", "iterations=1", *overrides]


def test_a_run_without_hydras_files_has_no_command(tmp_path: Path) -> None:
    run = MadeRun(tmp_path / "run", tmp_path / "store", scores=SCORES).write()
    for file in (run / ".hydra").iterdir():
        file.unlink()
    assert settings.command(Run.open(run)) is None
    assert settings.directory(Run.open(run)) is None


def test_the_keys_that_differ_are_found() -> None:
    runs = [{"a": "1", "b": "2"}, {"a": "1", "b": "3", "c": "4"}]
    assert settings.differing(runs) == ["b", "c"]
