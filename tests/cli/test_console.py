"""What is shown at the terminal: never wider than it may be, never more than was measured."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from iterdpo.cli import console, execute
from iterdpo.config.schema import Config
from iterdpo.evaluation.gains import Gains
from iterdpo.evaluation.health import Alarm
from iterdpo.evaluation.summary import EarlyStop, Summary
from tests import summaries
from tests.summaries import estimate


@pytest.fixture
def summary() -> Summary:
    gains = Gains(estimate(0.5), estimate(0.5), estimate(-0.1))
    return summaries.summary(
        [summaries.model(0, 3.0), summaries.model(1, 3.5, gains)],
        iterations=(summaries.iteration(1),),
        comparisons=(summaries.comparison(),),
    )


def shown(summary: Summary, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    console.show(summary, tmp_path)
    return capsys.readouterr().out.splitlines()


def test_the_table_marks_the_best_model_and_says_why(
    summary: Summary, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = shown(summary, tmp_path, capsys)
    assert lines[1].split() == [
        "M0", "3.00", "±", "0.20", "–", "–", "10", "%", "4.00", "1,234.6", "0.800", "0.700", "–",
        "–",
    ]  # fmt: skip
    assert lines[2].split() == [
        "M1*", "3.50", "±", "0.20", "+0.50", "±", "0.10", "65", "%", "10", "%", "4.00", "1,234.6",
        "0.800", "0.700", "123,456", "90", "%",
    ]  # fmt: skip
    assert "best: M1, a reason" in lines
    assert max(map(len, lines)) <= console.WIDTH


def test_the_heads_are_as_many_as_the_cells(summary: Summary) -> None:
    assert {len(console.row(model, summary)) for model in summary.models} == {len(console.COLUMNS)}


def test_one_prompt_and_no_oracle_are_shown_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quality = replace(summaries.quality(3.5), ci95=(None, None))
    measured = replace(summaries.evaluation(3.5), quality=quality)
    gains = Gains(None, estimate(0.5, None), None)
    models = [summaries.model(0, None), summaries.model(1, gains=gains, measured=measured)]
    lines = shown(summaries.summary(models), tmp_path, capsys)
    assert lines[1].split()[:3] == ["M0", "–", "–"]
    assert lines[2].split()[:4] == ["M1*", "3.50", "–", "–"]


def test_a_run_that_an_alarm_ended_says_so(
    summary: Summary, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = "stopped after iteration 1 of 3 by [x]"
    assert said in shown(replace(summary, stopped=EarlyStop(1, said)), tmp_path, capsys)


def test_alarms_are_told_with_their_own_model(
    summary: Summary, caplog: pytest.LogCaptureFixture
) -> None:
    alarms = (
        Alarm(0, "max_tie_rate", 0.9, 0.5, "an old one"),
        Alarm(1, "max_tie_rate", 0.9, 0.5, "M1: too many ties"),
    )
    with caplog.at_level(logging.INFO):
        console.announce(replace(summary, alarms=alarms), 3)
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


@pytest.mark.parametrize(
    ("place", "encoding", "said"),
    [
        ("/dev/full", "utf-8", "stdout: cannot be written to (No space left on device)"),
        ("/dev/null", "ascii", ""),
    ],
)
def test_the_work_continues_whatever_stdout_takes(place: str, encoding: str, said: str) -> None:
    code = (
        "import sys\nfrom iterdpo.cli import console\n"
        "with console.printing() as out:\n    out.print('3.00 ± 0.20 …')\n"
        "print('a line')\nprint('went on', file=sys.stderr)"
    )
    with Path(place).open("w") as stdout:
        done = subprocess.run(
            [sys.executable, "-c", code], stdout=stdout, stderr=subprocess.PIPE, text=True,
            check=False, env=os.environ | {"PYTHONIOENCODING": encoding},
        )  # fmt: skip
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert said in done.stderr
    assert done.stderr.endswith("went on\n")


def test_a_run_is_shared_whatever_stdout_takes(
    summary: Summary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = []
    monkeypatch.setattr("iterdpo.runs.execute.execute", lambda *_: summary)
    monkeypatch.setattr(execute, "share_at_the_end", lambda *found: shared.append(found))
    config = cast(Config, SimpleNamespace(report=False, hub="hub", iterations=1))
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr("sys.stdout", full)
        assert execute.execute(config, tmp_path) is summary
    assert shared == [("hub", tmp_path)]
