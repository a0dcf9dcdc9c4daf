"""The command, the files it writes, and the page of a run that resumes it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from iterdpo.evaluation.summary_file import read_summary, write_summary
from iterdpo.tools.report import __main__ as tool
from iterdpo.tools.report import page, vega
from iterdpo.tools.report.write import LiveReport, write
from tests.tools.report.made_runs import MadeRun, Planted
from tests.tools.report.reading import read

PAIRS = [Planted("name two tools", "axe saw", "saw"), Planted("name two drinks", "ale tea", "tea")]


@pytest.fixture
def made(tmp_path: Path) -> Path:
    run = MadeRun(
        tmp_path / "runs" / "one",
        tmp_path / "store",
        ["training.beta=0.2"],
        [PAIRS],
        [{"p": [3.0, 4.0], "q": [2.0]}, {"p": [4.0, 5.0], "q": [3.0]}],
    )
    return run.write()  # fmt: skip


def test_the_page_of_a_run_is_written_beside_it(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tool.main([str(made)]) == 0
    assert capsys.readouterr().out == f"{made}/report.html\n"
    text = read(made / "report.html").text
    assert "M1 is the best model: a reason." in text
    assert "cd " not in text
    assert "python -m iterdpo iterations=1 training.beta=0.2" in text
    assert "Given in /here:" in text
    # What differs from the defaults comes first, with the default beside it.
    assert "setting this run shipped iterations 1 3 training.beta 0.2" in text


def test_what_was_not_measured_is_absent(made: Path) -> None:
    text = read(write([made])).text
    assert "Head to head" not in text
    assert "M0 at lower temperatures was not measured in this run." in text
    assert "repeats" not in text


def test_another_file_can_be_named(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "page.html"
    assert write([made], out) == out
    assert out.is_file()
    assert not (made / "report.html").exists()


def test_several_runs_make_one_page_in_the_current_directory(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = MadeRun(tmp_path / "other", tmp_path / "store2", ["training.beta=0.3"], [PAIRS],
                    [{"p": [3.0], "q": [1.0]}, {"p": [3.0], "q": [2.0]}]).write()  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert write([made, other]).resolve() == tmp_path / "report.html"
    assert "training.beta=0.2 is best" in read(tmp_path / "report.html").text


def test_a_sweeps_page_is_written_into_the_sweep(made: Path) -> None:
    assert write([made.parent]) == made.parent / "report.html"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "nowhere: neither a run nor a sweep with a result"),
        (["{run}", "--out", "{run}"], "is a directory; name a file in it"),
        (["{run}", "--out", "/proc/none/page.html"], "cannot be written"),
    ],
)
def test_what_a_user_can_put_right_is_one_line(
    made: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert tool.main([part.format(run=made) for part in arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("iterdpo.report: ")
    assert said in error
    assert error.count("\n") == 1


def test_records_that_are_gone_are_named_and_the_rest_is_shown(made: Path) -> None:
    for link in (made / "stages").glob("*-pairs-*"):
        (link.resolve() / "stage.json").unlink()
    page = read(write([made]))
    assert "Quality by iteration" in page.text
    assert page.data["pairs"] is None


def test_a_run_on_its_way_says_how_far_it_is(tmp_path: Path) -> None:
    run = MadeRun(tmp_path / "run", tmp_path / "store", ["iterations=3"], [PAIRS],
                  [{"p": [3.0]}, {"p": [4.0]}]).write()  # fmt: skip
    assert "1 of 3 iterations are measured." in read(write([run])).text


def test_a_run_that_was_stopped_says_why(tmp_path: Path) -> None:
    stopped = {"iteration": 1, "message": "stopped after iteration 1 of 3 by health.on_alarm=stop"}
    alarm = {"iteration": 1, "name": "length", "value": 2.0, "threshold": 1.5,
             "message": "M1: longer"}  # fmt: skip
    run = MadeRun(
        tmp_path / "run",
        tmp_path / "store",
        ["iterations=3"],
        [PAIRS],
        [{"p": [3.0]}, {"p": [4.0]}],
        {"stopped": stopped, "alarms": [alarm]},
    ).write()
    text = read(write([run])).text
    assert "The run stopped after iteration 1 of 3 by health.on_alarm=stop." in text
    assert "1 alarm M1: longer" in text


def test_m0_alone_has_a_page(tmp_path: Path) -> None:
    run = MadeRun(tmp_path / "run", tmp_path / "store", scores=[{"p": [3.0]}]).write()
    assert "0 of 1 iterations are measured." in read(write([run])).text


def test_writing_the_same_twice_gives_the_same_bytes(made: Path) -> None:
    assert write([made]).read_bytes() == write([made]).read_bytes()


def test_a_live_report_is_written_again_each_time(made: Path) -> None:
    live = LiveReport(made)
    live.write()
    first = (made / "report.html").read_text()
    summary = read_summary(made)
    write_summary(replace(summary, best=replace(summary.best, why="another reason")), made)
    live.write()
    assert (made / "report.html").read_text() != first


def test_a_live_report_that_fails_warns_once_and_never_stops_a_run(
    made: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls = []

    def fail(document: Any) -> None:
        calls.append(document)
        raise ValueError("no\nroom")

    monkeypatch.setattr(page, "render", fail)
    live = LiveReport(made)
    live.write()
    live.write()
    assert len(calls) == 1
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "was not written (ValueError: no room)" in caplog.text


def test_a_report_that_is_off_writes_nothing(made: Path) -> None:
    LiveReport(made, on=False).write()
    assert not (made / "report.html").exists()


def test_a_failing_report_does_not_hide_a_stop(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vega, "bundle", lambda: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        LiveReport(made).write()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_that_may_not_be_written_to_is_said(made: Path) -> None:
    made.chmod(0o500)
    assert tool.main([str(made)]) == 2
