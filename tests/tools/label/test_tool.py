"""The command: from a run to a page, and from exports to a result and labels."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from iterdpo.records import Comparison
from iterdpo.runs.directory import Run
from iterdpo.tools.label.__main__ import main
from iterdpo.tools.label.task import LabelTask, read_key
from iterdpo.tools.report.write import write
from tests.tools.label.questions import exported


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished_run, tmp_path / "run", symlinks=True)
    return tmp_path / "run"


def prefer_first(task: LabelTask, annotator: str) -> str:
    chosen = {item.question.first.candidate_id: 1 for item in task.items}
    return json.dumps(exported(task, annotator, chosen))


def test_models_from_page_to_win_rate(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(run), "--n", "4"]) == 0
    said = capsys.readouterr().out
    assert f"{run}/label-models.html: 4 comparisons of M2 and M0" in said
    task = read_key(run / "label-models.key.json")
    assert task.names == ("M2", "M0")
    (tmp_path / "ann.json").write_text(prefer_first(task, "ann"))
    (tmp_path / "bob.json").write_text(prefer_first(task, "bob"))
    files = [str(tmp_path / name) for name in ("ann.json", "bob.json")]
    assert main([str(run), "--import", *files]) == 0
    said = capsys.readouterr().out
    assert "human win rate of M2: 100.0 %" in said
    result = json.loads((run / "label-models.result.json").read_text())
    assert (result["wins"], result["losses"]) == (8, 0)
    assert not list(run.glob("*.labels.jsonl"))


def test_a_judge_whose_errors_are_unknown_corrects_nothing(
    run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read = Run.records

    def readable(run: Run, stage: str, kind: type) -> tuple[Any, ...]:
        found: tuple[Any, ...] = read(run, stage, kind)
        if kind is not Comparison:
            return found
        return tuple(replace(item, forward=0.5, backward=0.5, unscored="") for item in found)

    monkeypatch.setattr(Run, "records", readable)
    assert main([str(run), "--n", "5"]) == 0
    task = read_key(run / "label-models.key.json")
    sides = {item.question.first.candidate_id: n % 2 for n, item in enumerate(task.items)}
    (tmp_path / "ann.json").write_text(json.dumps(exported(task, "ann", sides)))
    command = [str(run), "--import", str(tmp_path / "ann.json")]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "win rate of M2 against M0 by initial: 50.0 %" in said
    assert "without its errors: not estimable, the labels do not show" in said
    assert write([run]) == run / "report.html"
    assert "Corrected by people" in (run / "report.html").read_text()

    (run / "stages").rename(run / "gone")
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "human win rate of M2" in said
    assert "no win rate of the run is corrected: " in said
    assert json.loads((run / "label-models.result.json").read_text())["corrected"] == []


def test_pairs_say_how_far_people_agree_with_the_judge(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(run), "--kind", "pairs", "--out", str(tmp_path / "p.html")]) == 0
    task = read_key(tmp_path / "p.key.json")
    (tmp_path / "ann.json").write_text(prefer_first(task, "ann"))
    capsys.readouterr()
    assert main([str(run), "--import", str(tmp_path / "ann.json")]) == 0  # the key is beside it
    said = capsys.readouterr().out
    assert "preference of chosen: 100.0 %" in said
    assert "people agree with the run's judge: 100.0 %" in said
    assert len((tmp_path / "p.labels.jsonl").read_text().splitlines()) == len(task.items)


def test_a_key_is_not_lost_to_another_page(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(run), "--n", "3"]) == 0
    assert main([str(run), "--n", "3"]) == 0  # the same page
    assert main([str(run), "--n", "2"]) == 2
    assert "is the key of another page" in capsys.readouterr().err
    assert main([str(run), "--n", "2", "--force"]) == 0


def test_without_its_key_nothing_is_read(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([str(run), "--n", "3", "--out", str(tmp_path / "elsewhere" / "p.html")])
    task = read_key(tmp_path / "elsewhere" / "p.key.json")
    (tmp_path / "ann.json").write_text(prefer_first(task, "ann"))
    capsys.readouterr()
    assert main([str(run), "--import", str(tmp_path / "ann.json")]) == 2
    assert "name it, --key FILE" in capsys.readouterr().err
    key = str(tmp_path / "elsewhere" / "p.key.json")
    assert main([str(run), "--import", str(tmp_path / "ann.json"), "--key", key]) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--n", "0"], "--n=0"),
        (["--models", "M0", "M7"], "no model M7"),
        (["--kind", "pairs", "--iteration", "5"], "has 1 to 2"),
        (["--import", "none.json"], "cannot be read"),
    ],
)
def test_errors_are_one_line(
    run: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert main([str(run), *arguments]) == 2
    captured = capsys.readouterr().err
    assert said in captured
    assert captured.count("\n") == 1
