"""What docs/extending.md and docs/walk.py show is what works."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hydra import initialize_config_dir

from iterdpo.cli.overrides import check
from iterdpo.config.compose import conf_directory
from tests.commands import run_python

ROOT = Path(__file__).resolve().parents[1]
GUIDE = (ROOT / "docs" / "extending.md").read_text("utf-8")
SMALL = ("experiment=smoke", "iterations=1", "tracking=none")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)


def files() -> Iterator[tuple[str, str]]:
    """Yield name and text of every file that the guide shows."""
    for text in (*blocks("python"), *blocks("yaml")):
        if named := re.match(r"# (\S+\.(?:py|yaml))\n", text):
            yield named[1], text


def commands() -> list[Sequence[str]]:
    return [
        line.removeprefix("python -m iterdpo ").split()
        for block in blocks("sh")
        for line in block.splitlines()
        if "my_judge.MyJudge" not in line  # a class of no file
    ]


def forget_own_modules() -> None:
    for name in [name for name in sys.modules if name.startswith("my_")]:
        del sys.modules[name]


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory with every file of the guide, in which commands are given."""
    for name, text in files():
        place = tmp_path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, "utf-8")
    monkeypatch.chdir(tmp_path)
    # Other tests have files of these names elsewhere.
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    forget_own_modules()
    yield tmp_path
    forget_own_modules()


def run(arguments: Sequence[str], here: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{here}"}
    return run_python(*arguments, cwd=here, env=environment)


def test_there_is_one_of_each_in_at_most_40_lines() -> None:
    found = dict(files())
    assert set(found) == {
        "my_judge.py", "my_pairing.py", "my_verifier.py", "my_prompts.py", "mine/judge/brief.yaml"
    }  # fmt: skip
    assert all(len(text.splitlines()) <= 40 for text in found.values())


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_command_passes_the_door(command: Sequence[str], beside: Path) -> None:
    check([*command, *SMALL])


@pytest.mark.slow
def test_a_run_with_a_class_of_ones_own_in_every_place(beside: Path) -> None:
    own = [
        argument for command in commands() for argument in command if "config-dir" not in argument
    ]
    own = [argument for argument in own if argument != "judge=brief"]
    done = run(["-m", "iterdpo", *SMALL, *own, "hydra.run.dir=run"], beside)
    assert done.returncode == 0, done.stderr
    shown = run(
        ["-c", "import iterdpo\n"
         "run = iterdpo.load('run')\n"
         "both = run.candidates.merge(run.judgments, left_on='id', right_on='candidate_id')\n"
         "for text, score in zip(both.text, both.score):\n"
         "    words = len(text.split())\n"
         "    assert not words or score == 5.0 * max(0, 20 - words) / 20, (text, score)\n"
         "print(len(both), run.prompts.text.str.startswith('What is').all())\n"
         "print(run.evaluations['quality.perfect_share'].notna().all())"],
        beside,
    )  # fmt: skip
    assert shown.stdout.split() == ["144", "True", "True"], shown.stderr


@pytest.mark.slow
def test_the_python_of_the_guide_runs(beside: Path) -> None:
    (shown,) = [text for text in blocks("python") if text.startswith("import iterdpo")]
    done = run(["-c", shown.replace('["experiment=smoke"]', repr([*SMALL]))], beside)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("M")


@pytest.mark.slow
def test_the_walk_runs(tmp_path: Path) -> None:
    done = run([str(ROOT / "docs" / "walk.py")], tmp_path)
    assert done.returncode == 0, done.stderr
    assert "report.html" in done.stdout


def test_hydra_is_not_left_started() -> None:
    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        pass
