"""The command with its subcommands, and the doors for ``python -m iterdpo.TOOL``."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from iterdpo.cli.main import TOOLS, USAGE, main
from tests.commands import run_python

ROOT = Path(__file__).resolve().parents[2]
DOORS = ("report", "compare", "chat", "label", "benchmark", "sharing", "export", "canary",
         "judge_check",
         "store")  # fmt: skip


def called(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return run_python(
        "-c", "from iterdpo.cli.main import main; main()", *arguments, cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


@pytest.mark.parametrize("tool", TOOLS)
def test_every_tool_is_a_subcommand(
    tool: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["iterdpo", tool, "--help"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert "usage:" in capsys.readouterr().out
    assert f"iterdpo {tool} " in USAGE


@pytest.mark.parametrize("door", DOORS)
def test_every_tool_has_a_door_that_does_nothing_when_imported(door: str) -> None:
    name = f"iterdpo.{door}" if door != "store" else "iterdpo.store.__main__"
    importlib.import_module(name)
    done = subprocess.run(
        [sys.executable, "-m", f"iterdpo.{door}", "--help"],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"python -m iterdpo.{door}" in done.stdout


def test_a_tool_loads_neither_hydra_nor_a_model(tmp_path: Path) -> None:
    code = (
        "import sys; from iterdpo.cli.main import main; sys.argv = ['iterdpo', 'store', 'list']\n"
        "try:\n    main()\nexcept SystemExit: pass\n"
        "print([name for name in ('hydra', 'torch', 'wandb') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_plan_is_the_run_that_only_looks(tmp_path: Path) -> None:
    plan = called("plan", "experiment=smoke", "iterations=1", "tracking=none", cwd=tmp_path)
    assert plan.returncode == 0, plan.stderr
    # Answers of at most 48 tokens: 24 · 6 candidates, 2 models · 8 · (2 sampled + 1 greedy), and of
    # M0 8 · 4 for the judge reference set and 2 · 8 · 2 at lower temperatures.
    assert plan.stdout.splitlines()[-1].endswith(" to run; at most 12,288 tokens")
    assert (24 * 6 + 2 * 8 * 3 + 8 * 4 + 2 * 8 * 2) * 48 == 12_288
    same = called("plan=true", "experiment=smoke", "iterations=1", "tracking=none", cwd=tmp_path)
    assert same.stdout == plan.stdout
    assert not (tmp_path / "store").exists()


def test_run_may_be_named(tmp_path: Path) -> None:
    wrong = called("run", "iterations=0", cwd=tmp_path)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith("iterdpo: iterations=0: ")


@pytest.mark.parametrize("file", ["rows.csv", "no\x1b]0;title\u202e.csv"])
def test_no_message_holds_what_a_terminal_acts_on(tmp_path: Path, file: str) -> None:
    (tmp_path / "rows.csv").write_text("\x1b[31mred\x1b]0;title\u202ename,b\nx,y\n")
    wrong = called(
        "experiment=own_model", "model.path=no", f"prompts.path='{file}'", "tracking=none",
        cwd=tmp_path,
    )  # fmt: skip
    assert wrong.returncode == 2
    assert "1b]0;title\\u202e" in wrong.stderr
    assert not {"\x1b", "\u202e"} & set(wrong.stderr)


def test_help_lists_the_commands(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["iterdpo", "help"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert capsys.readouterr().out.strip() == USAGE


@pytest.mark.parametrize("command", [["help"], ["--help"], ["--cfg", "job"]])
def test_a_stdout_without_room_is_a_line(command: list[str], tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "iterdpo", *command], stdout=full, stderr=subprocess.PIPE,
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 2
    assert "No space left on device" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("command", [["iterations=1"], ["report", "run"], ["help"]])
def test_a_working_directory_that_is_gone_is_a_line(command: list[str], tmp_path: Path) -> None:
    code = (
        "import os, sys; os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone')\n"
        "from iterdpo.cli.main import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *command], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith(": the working directory is gone; change to another one (cd)\n")
    assert len(done.stderr.splitlines()) == 1


def test_a_terminal_without_the_letters_is_shown_their_numbers(tmp_path: Path) -> None:
    done = run_python(
        "-m", "iterdpo", "--help", cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "Settings:" in done.stdout
