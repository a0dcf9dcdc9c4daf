"""What a user types wrong: one clear line each, exit status 2, no traceback."""

from __future__ import annotations

import os
import resource
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra import initialize_config_dir

from iterdpo.cli import main as program
from iterdpo.cli import overrides as command
from iterdpo.cli.overrides import check
from iterdpo.config.compose import brought_along, conf_directory
from iterdpo.config.messages import READ_AS_NUMBER
from iterdpo.errors import ConfigError
from tests.commands import run_python


def problems(*arguments: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        check(arguments)
    return caught.value.problems


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_right_command_passes(here: Path) -> None:
    check(["iterations=3", "training.beta=0.3", "pairs=best_worst", "candidates.n=4"])
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("more", [[], ["seed=1,2", "-m"]])
def test_given_pairs_bring_their_prompts_into_an_experiment(here: Path, more: list[str]) -> None:
    arguments = ["experiment=sft_dpo", "sft.path=[f]", "model=lab", "pairs=dataset",
                 "pairs.dataset.path=f", *more]  # fmt: skip
    assert check(arguments) == ["prompts=pairs", *arguments]


@pytest.mark.parametrize("own", ["prompts.path=f", "prompts=lima", "pairs=top_bottom"])
def test_an_experiments_prompts_stay_where_they_are_named(here: Path, own: str) -> None:
    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        assert not brought_along(["experiment=own_model", "pairs=dataset", own])
        assert not brought_along(["experiment=lima_pairrm", "pairs=dataset"])


def test_an_unknown_key_names_the_closest_one(here: Path) -> None:
    assert problems("training.betta=0.1") == (
        "training.betta: no such setting; did you mean training.beta?",
    )


def test_an_unknown_choice_lists_the_choices(here: Path) -> None:
    assert problems("pairs=beast_worst") == (
        "pairs=beast_worst: no such choice; there are best_worst, custom, dataset, top_bottom, "
        "ultrafeedback_binarized",
    )


def test_two_wrong_values_are_two_lines(here: Path) -> None:
    found = problems("training.beta=-1", "iterations=none")
    assert len(found) == 2
    assert any("training.beta=-1" in line for line in found)
    assert any("iterations=none" in line for line in found)


def test_wrong_keys_choices_and_values_are_all_reported(here: Path) -> None:
    found = problems("trainin.beta=1", "engine=vlm", "iterations=0", "seed=1")
    assert len(found) == 3


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("trainig=dpo", "training"),
        ("modle=lab", "model"),
        ("beta=0.3", "training.beta"),
        ("learning_rate=1", "sft.learning_rate or training.learning_rate"),
    ],
)
def test_a_misspelled_group_and_a_setting_without_its_section_are_found(
    here: Path, typed: str, meant: str
) -> None:
    key = typed.partition("=")[0]
    assert problems(typed) == (f"{key}: no such setting; did you mean {meant}?",)


@pytest.mark.parametrize("arguments", [["judge=null"], ["-m", "judge=lab,null"]])
def test_no_choice_at_all_is_not_one_of_them(here: Path, arguments: list[str]) -> None:
    (line,) = problems(*arguments)
    assert line.startswith("judge=null: no such choice; there are additive, ")
    assert line.endswith("; leave it out for none of them")


def test_a_group_that_a_run_needs_cannot_be_deleted(here: Path) -> None:
    assert problems("~engine", "engine.device=cpu")[0] == (
        "~engine: a run needs it; choose one of auto, custom, transformers, vllm"
    )
    check(["~experiment"])


def test_choices_of_ones_own_stand_beside_the_packages(here: Path) -> None:
    (here / "own" / "experiment").mkdir(parents=True)
    (here / "own" / "experiment" / "mine.yaml").write_text(
        "# @package _global_\ntraining:\n  beta: -7\n"
    )
    check(["--config-dir=own", "experiment=smoke", "tracking=none"])
    (line,) = problems("--config-dir=own", "experiment=mine")
    assert line.startswith("training.beta=-7: ")
    (line,) = problems("--config-dir=own", "experiment=other")
    assert "there are full_dpo" in line
    assert " mine," in line


OWN_STRATEGY = """
from dataclasses import dataclass
from iterdpo.pairing import Strategy

@dataclass(frozen=True)
class Widest(Strategy):
    gap: int = 1
    k: int = 1

    def pair(self, prompt, ranked):
        return [(ranked[0], ranked[-1])]
"""


def test_a_setting_of_ones_own_class_is_set_like_any_other(here: Path) -> None:
    (here / "widest.py").write_text(OWN_STRATEGY)
    chosen = ["pairs=custom", "pairs._target_=widest.py:Widest"]
    assert check([*chosen, "pairs.gap=2", "seed=1"]) == [*chosen, "++pairs.gap=2", "seed=1"]
    assert check(["-m", *chosen, "pairs.gap=1,2"])[-1] == "++pairs.gap=1,2"
    (line,) = problems(*chosen, "pairs.gpa=2")
    assert line == "pairs.gpa: no such setting of widest.py:Widest, which has gap, k"
    (line,) = problems(*chosen, "pairs.gap=wide")
    assert line.startswith("pairs.gap=wide: ")
    assert problems("pairs.gap=2") == ("pairs.gap: no such setting; did you mean pairs.k?",)


def test_flags_of_hydra_that_lead_nowhere_are_refused(here: Path) -> None:
    (line,) = problems("--config-dir=nowhere")
    assert line == "--config-dir nowhere: no such directory; check the path"
    for flag in ("--config-name=other", f"--config-path={here}"):
        (line,) = problems(flag)
        assert line.startswith(f"{flag}: there is one configuration; ")


def test_values_with_signs_in_them_are_to_be_quoted_twice(here: Path) -> None:
    (line,) = problems("prompts.path=a=b")
    assert line.endswith("""in quotes, and they must pass the shell: 'prompts.path="a=b"'""")
    assert problems('prompts.path="a=b"', "prompts=file") == ("prompts.path=a=b: no such file",)
    (line,) = problems("model.path=a,b")
    assert line.endswith("""quotes for one text: 'model.path="a,b"'""")


@pytest.mark.parametrize("key", ["store.root", "hydra.run.dir"])
def test_an_empty_path_is_not_this_directory(here: Path, key: str) -> None:
    (line,) = problems(f"{key}=")
    assert line.startswith(f"{key}=: is empty; name a ")


def test_what_is_not_an_override_says_so(here: Path) -> None:
    assert problems("iterations") == ("iterations: is not key=value",)


@pytest.mark.parametrize("value", ["~/store", "/data/my store (2)/s", "it's"])
def test_a_value_that_must_be_quoted_comes_with_its_quotes(here: Path, value: str) -> None:
    (line,) = problems(f"store.root={value}")
    said, _, advice = line.partition(" the shell: ")
    assert said.startswith(f"store.root={value}: this value is read only in quotes")
    check(shlex.split(advice))


@pytest.mark.parametrize("value", ["76543210", "765e4321", "1_0", "true", "-0.50"])
@pytest.mark.parametrize("key", ["model.revision", "tracking.project"])
@pytest.mark.parametrize("others", [[], ["nosuch=1"]])
def test_a_text_that_is_read_as_a_number_comes_as_it_was_typed_with_its_quotes(
    here: Path, key: str, value: str, others: list[str]
) -> None:
    line = problems(f"{key}={value}", *others)[-1]
    said, _, advice = line.partition(" that pass the shell: ")
    assert said == f"{key}={value}: {READ_AS_NUMBER}"
    check(shlex.split(advice))


def test_no_such_directory_of_configuration(here: Path) -> None:
    assert problems("--config-dir", "nowhere") == (
        "--config-dir nowhere: no such directory; check the path",
    )


def test_several_values_need_m(here: Path) -> None:
    (line,) = problems("training.beta=0.1,0.2")
    assert "need -m" in line
    check(["-m", "training.beta=0.1,0.2"])


def test_a_sweep_over_an_unknown_key_or_choice_is_refused_at_once(here: Path) -> None:
    assert len(problems("-m", "training.betta=0.1,0.2", "judge=lab,nobody")) == 2


def test_a_value_that_must_be_set_is_named(here: Path) -> None:
    assert problems("model=local") == ("model.path: must be set, model.path=...",)


def test_a_missing_model_path(here: Path) -> None:
    (line,) = problems("model=local", "model.path=/no/such/dir")
    assert line.startswith("model.path=/no/such/dir: no checkpoint there")


@pytest.mark.parametrize("key", ["hydra.run.dir", "store.root"])
def test_a_directory_that_cannot_be_written_to(here: Path, key: str) -> None:
    (here / "file").write_text("in the way")
    (line,) = problems(f"{key}={here}/file/below")
    assert line.startswith(f"{key}: {here}/file cannot be written to (Not a directory)")


@pytest.mark.parametrize("place", ["run", "run/.hydra"])
@pytest.mark.parametrize("link", [False, True])
def test_what_lies_in_the_place_of_a_run_directory_is_named(
    here: Path, place: str, link: bool
) -> None:
    at = here / place
    at.parent.mkdir(exist_ok=True)
    at.symlink_to(here / "nowhere") if link else at.write_text("in the way")
    (line,) = problems("hydra.run.dir=run", "tracking=none")
    assert line.startswith(f"hydra.run.dir: {place} cannot be written to")


@pytest.mark.parametrize("flag", [["--help"], ["--cfg", "job"]])
def test_help_and_cfg_need_no_check_of_directories(here: Path, flag: list[str]) -> None:
    check(flag)
    assert list(here.iterdir()) == []


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return run_python("-m", "iterdpo", *arguments, cwd=cwd)


def test_the_program_ends_with_status_2_and_one_line_a_problem(here: Path) -> None:
    done = run("training.beta=-1", "iterationss=3", cwd=here)
    assert done.returncode == 2
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 2
    assert all(line.startswith("iterdpo: ") for line in lines)
    assert "Traceback" not in done.stderr


def test_a_prompts_file_with_a_broken_line_is_named_by_line(here: Path) -> None:
    (here / "prompts.jsonl").write_text('{"prompt": "fine"}\n{"prompt": oops}\n')
    done = run("prompts=file", "prompts.path=prompts.jsonl", "tracking=none", cwd=here)
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert "line 2" in line
    assert "Traceback" not in done.stderr


def test_help_helps(here: Path) -> None:
    done = run("--help", cwd=here)
    assert done.returncode == 0
    for part in ("python -m iterdpo iterations=3", "training.beta", "best_worst", "Groups"):
        assert part in done.stdout or part.split(".")[-1] in done.stdout, part


def test_a_wrong_command_loads_nothing_heavy(here: Path) -> None:
    code = (
        "import sys; from iterdpo.cli import overrides as command\n"
        "from iterdpo.errors import ConfigError\n"
        "try:\n    command.check(['iterations=0'])\n"
        "except ConfigError: pass\n"
        "print([m for m in ('torch', 'transformers', 'trl', 'wandb') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=here, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_launcher_is_one_that_is_there(here: Path) -> None:
    done = run("-m", "hydra/launcher=nope", "training.beta=0.1,0.2", cwd=here)
    assert done.returncode == 2
    assert "hydra/launcher=nope: no such choice; there are basic, cluster" in done.stderr


def test_cfg_of_a_sweep_is_refused_in_a_line(here: Path) -> None:
    done = run("-m", "--cfg", "job", "training.beta=0.1,0.2", cwd=here)
    assert done.returncode == 2
    assert done.stderr.startswith("iterdpo: --cfg: shows one run")


def test_a_reader_who_has_seen_enough_of_the_help_is_no_error(here: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "iterdpo", "--help"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_device_that_is_not_there_is_named(here: Path) -> None:
    assert "should match pattern" in problems("engine.device=gpu")[0]
    done = run_python(
        "-m", "iterdpo", "engine.device=cuda:7", "tracking=none", cwd=here,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(
        "iterdpo: engine.device=cuda:7: no CUDA device is there; use auto or cpu"
    )


@pytest.mark.parametrize("where", ["overrides.check", "job"])
def test_ctrl_c_before_a_run_listens_for_it_is_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", ["iterdpo"])  # not those of pytest
    monkeypatch.setattr(command, "check", list)
    monkeypatch.setattr(f"iterdpo.cli.run.{where}", interrupted)
    with pytest.raises(SystemExit) as ended:
        program.main()
    assert ended.value.code == 130
    assert capsys.readouterr().err.startswith("iterdpo: stopped by SIGINT; run the same command")


def test_a_directory_with_room_for_an_empty_file_alone_is_named_at_once(here: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        said = problems("experiment=smoke", f"hydra.run.dir={here / 'run'}", "tracking=none")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert said == (
        f"hydra.run.dir: {here} cannot be written to (File too large); name another directory",
    )
