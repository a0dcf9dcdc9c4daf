"""A judge in a file of the user's own, in the directory of the command: nothing else is needed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra import initialize_config_dir

from iterdpo.cli.overrides import check
from iterdpo.config.compose import composed, conf_directory, typed
from iterdpo.errors import ConfigError
from iterdpo.runs.directory import Run
from tests.commands import run_python
from tests.loop.sizes import SMALL

MY_JUDGE = '''\
from dataclasses import dataclass

from iterdpo.judging import PromptJudge
from tests.commands import run_python


@dataclass(frozen=True)
class MyJudge(PromptJudge):
    """The nearer to a length, the better."""

    limit: int = 20

    def verdicts(self, prompt, candidates):
        return [-abs(self.limit - len(item.text)) for item in candidates]
'''
COMMAND = ["experiment=smoke", "iterations=1", *SMALL, "tracking=none", "engine.device=cpu"]
CHOSEN = ["judge=custom", "judge._target_=my_judge.MyJudge"]

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the judge in it, that is neither ours nor on Python's path."""
    place = tmp_path_factory.mktemp("own")
    (place / "my_judge.py").write_text(MY_JUDGE)
    return place


@pytest.fixture(scope="module")
def command(here: Path) -> Command:
    """A function from arguments to what the command does that is given in that directory."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        package = str(Path(__file__).resolve().parents[2])
        return run_python(
            "-m", "iterdpo", *arguments, cwd=here, env={**os.environ, "PYTHONPATH": package}
        )

    return run


def planned(done: subprocess.CompletedProcess[str]) -> dict[str, set[str]]:
    """Return the stages of a printed plan by what would become of them."""
    assert done.returncode == 0, done.stderr
    found: dict[str, set[str]] = {"cached": set(), "runs": set()}
    for line in done.stdout.splitlines():
        state, *rest = line.split()
        if state in found and line.startswith("  "):
            found[state].add(rest[0])
    return found


@pytest.mark.slow
def test_it_judges_a_run_and_an_edit_judges_anew_and_no_more(here: Path, command: Command) -> None:
    done = command(*COMMAND, *CHOSEN, "judge.limit=30", "hydra.run.dir=run")
    assert done.returncode == 0, done.stderr
    run = Run.open(here / "run")
    made = run.made(1)
    texts = {item.id: item.text for item in made.candidates}
    assert len(made.judgments) == len(texts) > 40
    for judgment in made.judgments:
        assert judgment.score == -abs(30 - len(texts[judgment.candidate_id]))
    assert made.pairs
    for pair in made.pairs:
        assert abs(30 - len(pair.chosen)) < abs(30 - len(pair.rejected))
        assert pair.judge not in {policy.fingerprint for policy in run.policies.values()}
    assert "my_judge.MyJudge" in (here / "run" / "report.html").read_text("utf-8")

    planning = [*COMMAND, *CHOSEN, "judge.limit=30", "plan=true"]
    assert planned(command(*planning))["runs"] == set()
    (here / "my_judge.py").write_text(MY_JUDGE.replace("-abs(", "-2 * abs("))
    edited = planned(command(*planning))
    (here / "my_judge.py").write_text(MY_JUDGE)
    assert edited["runs"] >= {"judgments", "pairs", "adapter", "evaluation"}
    # What no judge has a part in: M0's answers, and what the oracle says of them.
    made_without = {"base", "prompts", "candidates", "answers", "oracle_scores", "baselines"}
    assert edited["cached"] == made_without
    # Later policies answer anew, M0 does not; nothing else is both.
    assert edited["runs"] & edited["cached"] == {"answers"}


@pytest.mark.parametrize(
    ("arguments", "target", "limit"),
    [
        (CHOSEN, "my_judge.MyJudge", 20),
        ([*CHOSEN, "judge.limit=9"], "my_judge.MyJudge", 9),
        (
            ["judge=custom", "judge._target_=my_judge.py:MyJudge", "judge.limit=9"],
            "my_judge.py:MyJudge",
            9,
        ),
    ],
)
def test_it_is_named_by_its_module_or_its_file(
    here: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], target: str, limit: int
) -> None:
    monkeypatch.chdir(here)
    monkeypatch.syspath_prepend(here)
    ready = check([*arguments, *COMMAND])
    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        choice = typed(composed(ready)).judge.choice
    assert (choice.target, choice.settings) == (target, {"limit": limit})


def test_a_yaml_file_of_ones_own_names_it_and_sets_it(here: Path, command: Command) -> None:
    (here / "conf" / "judge").mkdir(parents=True)
    (here / "conf" / "judge" / "mine.yaml").write_text(
        "_target_: my_judge.py:MyJudge\nlimit: 7\nmin_scored: 0.25\n"
    )
    shown = command("--config-dir=conf", "--cfg=job", "judge=mine", *COMMAND).stdout.splitlines()
    assert {"  _target_: my_judge.py:MyJudge", "  limit: 7", "  min_scored: 0.25"} <= set(shown)
    arguments = ["--config-dir=conf", *COMMAND, "judge=mine", "judge.limit=8", "plan=true"]
    assert "judgments" in planned(command(*arguments))["runs"]


def test_its_settings_are_swept_over_like_any_other(here: Path, command: Command) -> None:
    done = command("-m", *COMMAND, *CHOSEN, "judge.limit=1,2", "plan=true", "judge.min_scored=0.9")
    assert done.returncode == 0, done.stderr
    plans = done.stdout.split("M0\n")[1:]
    keys = [
        [line.split()[2] for line in plan.splitlines() if line.startswith("  runs     judgments")]
        for plan in plans
    ]
    assert len(keys) == 2
    assert keys[0] != keys[1]


WRONG = """\
from iterdpo.judging import PromptJudge

class Lazy(PromptJudge):
    pass

class Other:
    pass

class Forgetful(PromptJudge):
    def __init__(self, limit: int = 3):
        self.most = limit
    def verdicts(self, prompt, candidates):
        return []

class Sulky(PromptJudge):
    def __init__(self, limit: int = 3):
        raise KeyError(limit)
    def verdicts(self, prompt, candidates):
        return []

class Wordy(Forgetful):
    def __init__(self, words):
        self.words = words

exec("class Notebook(PromptJudge):\\n    def verdicts(self, prompt, candidates): return []",
     globals() | {"__name__": "notebook"}, found := {"PromptJudge": PromptJudge})
Notebook = found["Notebook"]

class Breaks(PromptJudge):
    def prepare(self):
        open("no such file")
    def verdicts(self, prompt, candidates):
        return []
"""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["judge._target_=my_judge.MyJudge", "judge.limit=many"],
            "judge.limit=many: input should be",
        ),
        (
            ["judge._target_=my_judge.MyJudge", "judge.lmit=3"],
            "judge.lmit: no such setting of my_judge.MyJudge, which has limit",
        ),
        (
            ["judge._target_=my_judge.Yours"],
            "judge._target_=my_judge.Yours: there is no Yours in my_judge",
        ),
        (
            ["judge._target_=your_judge.MyJudge"],
            "judge._target_=your_judge.MyJudge: there is no module your_judge, neither",
        ),
        (
            ["judge._target_=your_judge.py:MyJudge"],
            "judge._target_=your_judge.py:MyJudge: there is no file ",
        ),
        (
            ["judge._target_=MyJudge"],
            "judge._target_=MyJudge: name a class, module.Class or file.py:",
        ),
        (
            ["judge._target_=wrong.Other"],
            "judge._target_=wrong.Other: is no PromptJudge; derive the class from",
        ),
        (
            ["judge._target_=wrong.Lazy"],
            "judge._target_=wrong.Lazy: lacks verdicts; see iterdpo.judg",
        ),
        (
            ["judge._target_=wrong.Forgetful"],
            "judge._target_=wrong.Forgetful: keeps no limit, so it could not count in keys",
        ),
        (
            ["judge._target_=wrong.Sulky"],
            "judge._target_=wrong.Sulky: cannot be made (KeyError: 3, wrong.py line 17)",
        ),
        (
            ["judge._target_=wrong.Wordy"],
            "judge._target_=wrong.Wordy: its setting words has no type",
        ),
        (
            ["judge._target_=broken.MyJudge"],
            "judge._target_=broken.MyJudge: cannot be imported (ZeroDivisionError: division",
        ),
        (
            ["judge._target_=unwritten.MyJudge"],
            "judge._target_=unwritten.MyJudge: cannot be imported",
        ),
    ],
)
def test_what_is_wrong_with_it_is_one_line(
    here: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    (here / "wrong.py").write_text(WRONG)
    (here / "broken.py").write_text("MyJudge = object\n1 / 0\n")
    (here / "unwritten.py").write_text("class MyJudge(\n")
    monkeypatch.chdir(here)
    monkeypatch.syspath_prepend(here)
    with pytest.raises(ConfigError) as raised:
        check([*COMMAND, "judge=custom", *arguments])
    (line,) = raised.value.problems
    assert line.startswith(said)
    assert "\n" not in line


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("broken.MyJudge", "iterdpo: judge._target_=broken.MyJudge: cannot be imported (ZeroDivis"),
        (
            "wrong.Notebook",
            "iterdpo: Notebook: has no source file to tell its versions apart; put it",
        ),
        (
            "wrong.Breaks",
            "iterdpo: judge: Breaks: FileNotFoundError: [Errno 2] No such file or directory",
        ),
    ],
)
def test_the_command_ends_in_that_line_with_status_2(
    here: Path, command: Command, target: str, said: str
) -> None:
    (here / "wrong.py").write_text(WRONG)
    (here / "broken.py").write_text("MyJudge = object\n1 / 0\n")
    done = command(*COMMAND, "judge=custom", f"judge._target_={target}")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(said)
    assert "Traceback" not in done.stderr


def test_settings_of_another_choice_are_told_together_and_how_to_be_without_them(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(here)
    monkeypatch.syspath_prepend(here)
    with pytest.raises(ConfigError) as raised:
        check([*COMMAND, "judge._target_=my_judge.MyJudge"])
    (line,) = raised.value.problems
    assert line.startswith("judge.model, judge.rubric, judge.score, ")
    assert line.endswith(
        "no such settings of my_judge.MyJudge, which has limit; judge=custom leaves out what other "
        "choices have"
    )
    with pytest.raises(ConfigError) as raised:
        check(["-m", *COMMAND, *CHOSEN, "judge.lmit=1,2"])
    assert raised.value.problems == (
        "judge.lmit: no such setting of my_judge.MyJudge, which has limit",
    )
