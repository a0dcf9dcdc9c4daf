"""What is shown at the terminal: never wider than it may be, never more than was measured."""

from __future__ import annotations

import copy
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from iterdpo.cli import console
from tests.evaluation.test_table import estimate, model, summary  # noqa: F401


@pytest.fixture
def result(summary: dict[str, Any]) -> dict[str, Any]:
    values = copy.deepcopy(summary)
    for number, entry in enumerate(values["models"]):
        entry["iteration"] = number
    made = {
        "iteration": 1, "candidates": 16_000, "judgments": {"scored": 15_999, "unscored": 1},
        "pairs": {"kept": 123_456, "dropped": {"tie": 3}, "label_accuracy": 0.88},
        "training": {"step0_loss": 0.6931},
    }  # fmt: skip
    return values | {"iterations": [made], "alarms": [], "stopped": None}


def shown(result: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    console.show(result, tmp_path)
    return capsys.readouterr().out.splitlines()


def test_the_table_marks_the_best_model_and_says_why(
    result: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = shown(result, tmp_path, capsys)
    assert lines[1].split() == [
        "M0", "3.00", "±", "0.20", "–", "–", "10", "%", "4.00", "1,234.6", "0.800", "0.700", "–",
        "–",
    ]  # fmt: skip
    assert lines[2].split() == [
        "M1*", "3.50", "±", "0.20", "+0.50", "±", "0.10", "65", "%", "10", "%", "4.00", "1,234.6",
        "0.800", "0.700", "123,456", "88", "%",
    ]  # fmt: skip
    assert "best: M1, a reason" in lines
    assert max(map(len, lines)) <= console.WIDTH


def test_the_heads_are_as_many_as_the_cells(result: dict[str, Any]) -> None:
    assert {len(console.row(entry, result)) for entry in result["models"]} == {len(console.COLUMNS)}


def test_one_prompt_and_no_oracle_are_shown_as_they_are(
    result: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result["models"][0]["quality"] = None
    result["models"][1]["quality"]["ci95"] = [None, None]
    result["models"][1]["gain"] = {"over_previous": None, "over_initial": estimate(0.5, None)}
    result["comparisons"], result["best"] = [], None
    lines = shown(result, tmp_path, capsys)
    assert lines[1].split()[:3] == ["M0", "–", "–"]
    assert lines[2].split()[:4] == ["M1", "3.50", "–", "–"]


def test_a_run_that_an_alarm_ended_says_so(
    result: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result["stopped"] = {"iteration": 1, "message": "stopped after iteration 1 of 3 by [x]"}
    assert "stopped after iteration 1 of 3 by [x]" in shown(result, tmp_path, capsys)


def test_alarms_are_told_with_their_own_model(
    result: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    result["alarms"] = [
        {"iteration": 0, "message": "an old one"}, {"iteration": 1, "message": "M1: too many ties"}
    ]  # fmt: skip
    with caplog.at_level(logging.INFO):
        console.announce(result, 3)
    assert "alarm: M1: too many ties" in caplog.text
    assert "an old one" not in caplog.text


def test_the_work_goes_on_when_nobody_reads_any_more() -> None:
    read, write = os.pipe()
    os.close(read)
    code = (
        "import sys\nfrom iterdpo.cli import console\n"
        "with console.printing() as out:\n    out.print('a table')\n"
        "print('a line')\nprint('went on', file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "went on\n")
