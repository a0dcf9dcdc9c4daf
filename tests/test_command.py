"""What a user types wrong: one clear line each, exit status 2, no traceback."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys

import pytest

from iterdpo.command import check
from iterdpo.errors import ConfigError


def problems(*arguments: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        check(arguments)
    return caught.value.problems


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_right_command_passes(here):
    check(["iterations=3", "training.beta=0.3", "pairs=best_worst", "candidates.n=4"])
    assert list(here.iterdir()) == []


def test_an_unknown_key_names_the_closest_one(here):
    assert problems("training.betta=0.1") == (
        "training.betta: no such setting; did you mean training.beta?",
    )


def test_an_unknown_choice_lists_the_choices(here):
    assert problems("pairs=beast_worst") == (
        "pairs=beast_worst: no such choice; there are best_worst, dataset, top_bottom, "
        "ultrafeedback_binarized",
    )


def test_two_wrong_values_are_two_lines(here):
    found = problems("training.beta=-1", "iterations=none")
    assert len(found) == 2
    assert any("training.beta=-1" in line for line in found)
    assert any("iterations=none" in line for line in found)


def test_wrong_keys_choices_and_values_are_all_reported(here):
    found = problems("trainin.beta=1", "engine=vlm", "iterations=0", "seed=1")
    assert len(found) == 3


def test_what_is_not_an_override_says_so(here):
    assert problems("iterations") == ("iterations: is not key=value",)


@pytest.mark.parametrize("value", ["~/store", "/data/my store (2)/s", "it's"])
def test_a_value_that_must_be_quoted_comes_with_its_quotes(here, value):
    (line,) = problems(f"store.root={value}")
    said, _, advice = line.partition(" the shell: ")
    assert said.startswith(f"store.root={value}: this value is read only in quotes")
    check(shlex.split(advice))


def test_no_such_directory_of_configuration(here):
    assert problems("--config-dir", "nowhere") == (
        "--config-dir nowhere: no such directory; check the path",
    )


def test_several_values_need_m(here):
    (line,) = problems("training.beta=0.1,0.2")
    assert "need -m" in line
    check(["-m", "training.beta=0.1,0.2"])


def test_a_sweep_over_an_unknown_key_or_choice_is_refused_at_once(here):
    assert len(problems("-m", "training.betta=0.1,0.2", "judge=lab,nobody")) == 2


def test_a_value_that_must_be_set_is_named(here):
    assert problems("model=local") == ("model.path: must be set, model.path=...",)


def test_a_missing_model_path(here):
    (line,) = problems("model=local", "model.path=/no/such/dir")
    assert line.startswith("model.path=/no/such/dir: no checkpoint there")


@pytest.mark.parametrize("key", ["hydra.run.dir", "store.root"])
def test_a_directory_that_cannot_be_written_to(here, key):
    (here / "file").write_text("in the way")
    (line,) = problems(f"{key}={here}/file/below")
    assert line.startswith(f"{key}={here}/file/below: cannot be written to")


@pytest.mark.parametrize("flag", [["--help"], ["--cfg", "job"]])
def test_help_and_cfg_need_no_check_of_directories(here, flag):
    check(flag)
    assert list(here.iterdir()) == []


def run(*arguments: str, cwd) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "iterdpo", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_the_program_ends_with_status_2_and_one_line_a_problem(here):
    done = run("training.beta=-1", "iterationss=3", cwd=here)
    assert done.returncode == 2
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 2
    assert all(line.startswith("iterdpo: ") for line in lines)
    assert "Traceback" not in done.stderr


def test_a_prompts_file_with_a_broken_line_is_named_by_line(here):
    (here / "prompts.jsonl").write_text('{"prompt": "fine"}\n{"prompt": oops}\n')
    done = run("prompts=file", "prompts.path=prompts.jsonl", "tracking=none", cwd=here)
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert "line 2" in line
    assert "Traceback" not in done.stderr


def test_help_helps(here):
    done = run("--help", cwd=here)
    assert done.returncode == 0
    for part in ("python -m iterdpo iterations=3", "training.beta", "best_worst", "Groups"):
        assert part in done.stdout or part.split(".")[-1] in done.stdout, part


def test_a_wrong_command_loads_nothing_heavy(here):
    code = (
        "import sys; from iterdpo import command\n"
        "from iterdpo.errors import ConfigError\n"
        "try:\n    command.check(['iterations=0'])\n"
        "except ConfigError: pass\n"
        "print([m for m in ('torch', 'transformers', 'trl', 'wandb') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=here, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_launcher_is_one_that_is_there(here):
    done = run("-m", "hydra/launcher=nope", "training.beta=0.1,0.2", cwd=here)
    assert done.returncode == 2
    assert "hydra/launcher=nope: no such choice; there are basic, cluster" in done.stderr


def test_cfg_of_a_sweep_is_refused_in_a_line(here):
    done = run("-m", "--cfg", "job", "training.beta=0.1,0.2", cwd=here)
    assert done.returncode == 2
    assert done.stderr.startswith("iterdpo: --cfg: shows one run")


def test_a_reader_who_has_seen_enough_of_the_help_is_no_error(here):
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "iterdpo", "--help"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")
