"""What the end of a sweep says of its jobs, whatever they are called and did before."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from types import SimpleNamespace

import pytest

from iterdpo.cli import sweep
from iterdpo.cli.sweep import FAILURE_FILE, OVERRIDES_FILE, Sweep, forget_failure, note_failure
from iterdpo.errors import UserError
from iterdpo.evaluation.summary_file import write_summary
from iterdpo.runtime.signals import StopRequest
from tests import summaries
from tests.commands import run_python


def job(place: Path, override: str = "seed=0", failed: str = "", measured: bool = True) -> None:
    overrides = place / OVERRIDES_FILE
    overrides.parent.mkdir(parents=True, exist_ok=True)
    overrides.write_text(f"- '{override}'\n")
    if measured:
        write_summary(summaries.summary([summaries.model(0, 3.0)]), place)
    if failed:
        note_failure(place, UserError(failed))


def config(directory: Path) -> SimpleNamespace:
    return SimpleNamespace(
        hydra=SimpleNamespace(sweep=SimpleNamespace(dir=str(directory))),
        store=SimpleNamespace(root=str(directory / "store")),
    )


def ended(directory: Path, started: Sweep | None = None) -> int:
    try:
        (started or Sweep()).on_multirun_end(config(directory))
    except SystemExit as status:
        return int(status.code or 0)
    return 0


def test_a_sweep_whose_jobs_have_results_ends_well(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job(tmp_path / "0")
    job(tmp_path / "1", "seed=1")
    assert ended(tmp_path) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()[1:]] == [
        ["0", "seed=0", "3.00"],
        ["1", "seed=1", "3.00"],
    ]


def test_overrides_and_errors_are_shown_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job(tmp_path / "0", "sft.path=[/data/a.jsonl]", "[/red] no such [bold]file[/] :smile: \x1b[31m")
    assert ended(tmp_path) == 1
    assert (
        "sft.path=[/data/a.jsonl]  [/red] no such [bold]file[/] :smile: \\x1b[31m"
        in capsys.readouterr().out
    )


def test_the_status_does_not_depend_on_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(jobs: object) -> None:
        raise ValueError("no table today")

    monkeypatch.setattr(sweep, "show", broken)
    job(tmp_path / "0")
    assert ended(tmp_path) == 0
    job(tmp_path / "1", failed="it broke")
    assert ended(tmp_path) == 1
    assert "no table today" in caplog.text


def test_jobs_that_cannot_be_read_have_not_ended_well(tmp_path: Path) -> None:
    job(tmp_path / "0")
    (tmp_path / "0" / OVERRIDES_FILE).write_bytes(b"\xff[")
    assert ended(tmp_path) == 1


@pytest.mark.parametrize("left", ["", "[]", '{"other": 1}'])
def test_a_damaged_note_is_a_failure_all_the_same(tmp_path: Path, left: str) -> None:
    job(tmp_path / "0")
    (tmp_path / "0" / FAILURE_FILE).write_text(left)
    assert ended(tmp_path) == 1


def test_jobs_are_found_however_deep_they_lie(tmp_path: Path) -> None:
    job(tmp_path / "sft.path=" / "data" / "file", failed="it broke")
    assert ended(tmp_path) == 1


def test_what_an_earlier_sweep_left_in_the_directory_is_not_of_this_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job(tmp_path / "0", failed="then")
    job(tmp_path / "1", failed="then")
    now = Sweep()
    now.on_multirun_start(config(tmp_path))
    forget_failure(tmp_path / "0")
    (tmp_path / "0" / OVERRIDES_FILE).write_text("- seed=7\n")
    os.utime(tmp_path / "0" / OVERRIDES_FILE)
    assert ended(tmp_path, now) == 0
    out = capsys.readouterr().out
    assert "seed=7" in out
    assert "then" not in out


def test_a_stopped_sweep_prints_no_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    request = StopRequest()
    request.number = 15
    monkeypatch.setattr(sweep, "process_request", lambda: request)
    job(tmp_path / "0", measured=False)
    assert ended(tmp_path) == 0
    assert capsys.readouterr().out == ""


def test_a_failure_that_cannot_be_noted_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    assert not note_failure(tmp_path / "file", UserError("it broke"))
    assert "cannot be written" in caplog.text


def test_a_repaired_sweep_forgets_what_had_failed(tmp_path: Path) -> None:
    place = tmp_path / "sweep"
    command = [
        "-m", "iterdpo", "-m", "experiment=smoke", "seed=0,1", "tracking=none",
        f"store.root={tmp_path / 'store'}", f"hydra.sweep.dir={place}",
    ]  # fmt: skip
    failed = run_python(*command, f"model.path='{tmp_path}/no [model]'", "model.quantization=none")
    assert failed.returncode == 1, failed.stderr
    assert "Traceback" not in failed.stderr
    assert f"{tmp_path}/no [model]" in failed.stdout.replace("\n", "")
    assert len(list(place.glob(f"*/{FAILURE_FILE}"))) == 2
    repaired = run_python(*command, "plan=true")
    assert repaired.returncode == 0, repaired.stderr
    assert list(place.glob(f"*/{FAILURE_FILE}")) == []


@pytest.mark.parametrize(
    ("place", "key"),
    [("", "hydra.sweep.dir"), ("0", "hydra.sweep.dir"), ("0/.hydra", "hydra.sweep.dir"),
     ("store", "store.root")],
)  # fmt: skip
def test_a_directory_that_a_sweep_cannot_write_to_is_named_before_any_job(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str, key: str
) -> None:
    directory = tmp_path / "sweep"
    (directory / place).parent.mkdir(parents=True, exist_ok=True)
    (directory / place).write_text("in the way")
    with pytest.raises(SystemExit) as ended:
        Sweep().on_multirun_start(config(directory))
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"iterdpo: {key}: {directory / place} cannot be written to")


def test_a_sweep_needs_room_for_its_first_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(SystemExit) as ended:
            Sweep().on_multirun_start(config(tmp_path / "sweep"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert ended.value.code == 2
    assert f"hydra.sweep.dir: {tmp_path} cannot be written to" in capsys.readouterr().err


def test_a_note_of_failure_that_cannot_be_removed_is_a_line(tmp_path: Path) -> None:
    (tmp_path / FAILURE_FILE).mkdir()
    with pytest.raises(UserError, match=f"^{tmp_path / FAILURE_FILE}: lies in the place of a file"):
        forget_failure(tmp_path)
