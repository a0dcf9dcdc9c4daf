"""The README's commands, run as they stand; the long ones with the shrinking overlay."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra import compose, initialize_config_dir

from iterdpo.cli.overrides import check
from iterdpo.config.compose import conf_directory, typed
from iterdpo.engines import placement
from iterdpo.models.memory import GIB, ModelShape
from tests.checkpoints import CheckpointOf
from tests.commands import run_python
from tests.narrowing import present

REPOSITORY = Path(__file__).resolve().parent.parent
README = (REPOSITORY / "README.md").read_text("utf-8")
COMMANDS = [
    line.strip()
    for block in re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)
    for line in block.splitlines()
    if line.strip()
]
PYTHON_COMMANDS = [line for line in COMMANDS if line.startswith("python -m")]
RECIPES = re.findall(
    r"^\| [^|]+ \| `([^`]+)` \|", README.split("## Recipes")[1].split("\n## ")[0], re.MULTILINE
)
FIRST = "python -m iterdpo iterations=3"
SWEEP = "python -m iterdpo -m training.beta=0.05,0.1,0.3"
SCRIPTS = [line for line in COMMANDS if line.startswith("python experiments/")]


def run(arguments: list[str], cwd: Path, said: str = "") -> subprocess.CompletedProcess[str]:
    done = run_python(*arguments, cwd=cwd, said=said)
    assert done.returncode == 0, done.stderr
    return done


def test_the_readme_names_the_commands_that_count() -> None:
    assert "make demo" in COMMANDS
    assert "make check test" in COMMANDS
    assert {FIRST, SWEEP} <= set(COMMANDS)
    assert len(PYTHON_COMMANDS) >= 7
    assert SCRIPTS
    assert len(RECIPES) >= 9


def make_store(directory: Path) -> None:
    """Leave a store with one stage and the run that uses it."""
    from iterdpo.prompts.lab import LabPrompts
    from iterdpo.stages.generate import SelectPrompts
    from iterdpo.store.registry import RegisteredRun
    from iterdpo.store.runner import Stages

    (directory / "run").mkdir()
    registered = RegisteredRun(directory / "store", directory / "run", "0")
    stages = Stages(directory / "store", registered=registered)
    stages.run(SelectPrompts(LabPrompts(), "loop", 8, 0), 1)
    registered.finish()


def after_a_run(tool: str, finished: Path, directory: Path) -> None:
    """Use a tool on a copy of a finished run, whose links lead into the store of the first."""
    made = shutil.copytree(finished, directory / "run", symlinks=True)
    (made / "report.html").unlink(missing_ok=True)
    done = run(["-m", tool, "run"], directory, said="/models\n/quit\n")
    left = {"report": "report.html", "compare": "compare.csv", "label": "label-models.html"}
    name = tool.removeprefix("iterdpo.")
    if name == "chat":
        assert "M1" in done.stderr
    else:
        assert (made / left[name]).is_file()


@pytest.mark.slow
@pytest.mark.parametrize("command", PYTHON_COMMANDS)
def test_command(
    command: str, tmp_path: Path, checkpoint_of: CheckpointOf, request: pytest.FixtureRequest
) -> None:
    if "engine=vllm" in command:
        request.getfixturevalue("vllm")
    arguments = shlex.split(command)[1:]
    if "iterdpo.store" in arguments:
        make_store(tmp_path)
        said = {
            "list": "prompts",
            "verify": "1 stage: every file is what",
            "gc": "--delete: 0, 0 B",
        }
        assert said[arguments[-1]] in run(arguments, tmp_path).stdout
        return
    if arguments[-1] == "RUN":
        after_a_run(arguments[1], request.getfixturevalue("finished_run"), tmp_path)
        return
    swaps = {"model.path=DIR": f"model.path={checkpoint_of('llama')}"}
    if "prompts.path=FILE" in arguments:
        (tmp_path / "prompts.txt").write_text("".join(f"Say {n}.\n" for n in range(80)))
        swaps["prompts.path=FILE"] = "prompts.path=prompts.txt"
    arguments = [swaps.get(argument, argument) for argument in arguments]
    if "--help" in arguments or "--cfg" in arguments:
        assert "training" in run(arguments, tmp_path).stdout
        return
    if "plan=true" in arguments:
        done = run([*arguments, "experiment=smoke", "engine.device=cpu"], tmp_path)
        assert "stages: " in done.stdout.splitlines()[-1]
        return
    if "experiment=self_rewarding_8b" in arguments:
        arguments.append(f"model.path={checkpoint_of('llama')}")
    if {"experiment=own_model", "experiment=self_rewarding_8b"} & set(arguments):
        # A random model writes no readable verdict: its score distribution is read instead.
        arguments += [
            "prompts.per_iteration=4", "candidates.max_tokens=150", "judge.score=expected",
            "judge.min_mass=0", "evaluation.prompts=2", "evaluation.reference_prompts=2",
            "pairs.on_empty=skip", "iterations=1", "engine.transformers.batch_size=64",
        ]  # fmt: skip
    else:
        arguments += ["experiment=smoke", "iterations=1", "prompts.per_iteration=8"]
    if command not in (FIRST, SWEEP):  # to draw the page takes a second
        arguments.append("report=false")
    done = run([*arguments, "engine.device=cpu"], tmp_path)
    assert "M0" in done.stdout or "M0" in done.stderr
    summaries = sorted((tmp_path / "runs").rglob("summary.json"))
    jobs = 3 if "-m" in arguments[2:] else 1
    assert len(summaries) == jobs
    for path in summaries:
        assert len(json.loads(path.read_text())["models"]) >= 2
    if command == SWEEP:
        # The betas share the first iteration's data, and nothing after it.
        assert len(list((tmp_path / "store" / "candidates").iterdir())) == 1
        assert len(list((tmp_path / "store" / "adapter").iterdir())) == 3
        assert "training.beta=0.3" in done.stdout
    for script in SCRIPTS if "seed=0,1,2" in arguments else ():
        place, *rest = shlex.split(script)[1:]
        assert "| M1 |" in run([str(REPOSITORY / place), *rest], tmp_path).stdout


@pytest.mark.parametrize("command", RECIPES)
def test_a_recipe_composes(command: str, tmp_path: Path) -> None:
    file = tmp_path / "some.jsonl"
    file.write_text("{}\n")
    overrides = shlex.split(command.replace("FILE", str(file)))
    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        assert typed(compose("config", overrides)).iterations


MEMORY = re.findall(
    r"^\| ((?:`\w+`(?:, )?)+) \| ([^|,]+)[^|]* \| (\d+) \| (\d+) \|$", README, re.MULTILINE
)
SHAPES = {
    "Llama 3 8B": ModelShape(4096, 32, 32, 8, 128, 14336, 128256, tied=False),
    "Mistral 7B": ModelShape(4096, 32, 32, 8, 128, 14336, 32768, tied=False),
    "Qwen2.5 7B": ModelShape(3584, 28, 28, 4, 128, 18944, 152064, tied=False),
    "Qwen2.5 0.5B": ModelShape(896, 24, 14, 2, 64, 4864, 151936, tied=True),
}


@pytest.mark.parametrize(
    ("recipe", "model", "training", "engine"),
    [(name, *rest) for names, *rest in MEMORY for name in re.findall(r"\w+", names)],
)
def test_what_a_recipe_needs_is_what_the_estimate_says(
    recipe: str,
    model: str,
    training: str,
    engine: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a card whose size and models are made up: what a run would print."""
    file = tmp_path / "some.jsonl"
    file.write_text("{}\n")
    command = next(line for line in RECIPES if f"experiment={recipe.removesuffix('_24gb')}" in line)
    command = command.replace("FILE", str(file)).replace(
        f"experiment={recipe.removesuffix('_24gb')}", f"experiment={recipe}"
    )
    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        config = typed(compose("config", shlex.split(command)))
    card = SimpleNamespace(total_memory=80 * GIB)
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda _: card)
    monkeypatch.setattr(placement, "declared_context", lambda _: 8192)
    monkeypatch.setattr(ModelShape, "at", lambda _: SHAPES[model])
    half = replace(config, model=replace(config.model, dtype="bfloat16"))
    estimate = present(placement.Sizes.of(half.model, tmp_path)).estimate([half.training], "vllm")
    assert f"{estimate.trainer / GIB:.0f} {estimate.engine / GIB:.0f}" == f"{training} {engine}"


def test_every_recipe_says_what_it_needs() -> None:
    named = {name for names, *_ in MEMORY for name in re.findall(r"\w+", names)}
    recipes = {found[1] for line in RECIPES if (found := re.search(r"experiment=(\w+)", line))}
    assert named == recipes | {"self_rewarding_8b_24gb"}


def documented_commands() -> list[str]:
    """Return the program's commands in every page of ``docs`` that shows no files beside them.

    Those of extending.md are tested with its files, in test_extending.py.
    """
    return [
        line
        for page in sorted((REPOSITORY / "docs").glob("*.md"))
        if page.name != "extending.md"
        for block in re.findall(r"```sh\n(.*?)```", page.read_text("utf-8"), flags=re.DOTALL)
        for line in block.replace("\\\n", " ").splitlines()
        if line.startswith("python -m iterdpo ")
    ]


@pytest.mark.parametrize("command", documented_commands())
def test_a_documented_command_is_taken(
    command: str, tmp_path: Path, checkpoint_of: CheckpointOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    sys.modules.pop("my_tracker", None)
    (tmp_path / "some.txt").write_text("Say it.\n")
    shown = (REPOSITORY / "docs" / "tracking.md").read_text("utf-8")
    for text in re.findall(r"```python\n(# my_tracker\.py\n.*?)```", shown, flags=re.DOTALL):
        (tmp_path / "my_tracker.py").write_text(text, "utf-8")
    swaps = {"=FILE": "=some.txt", "=DIR": f"={checkpoint_of('llama')}"}
    for name, value in swaps.items():
        command = command.replace(name, value)
    check(shlex.split(command)[3:])
    sys.modules.pop("my_tracker", None)


def test_the_tree_names_what_is_there() -> None:
    tree = re.search(r"```\niterdpo/\n(.*?)```", README, flags=re.DOTALL)
    assert tree is not None
    for line in tree.group(1).splitlines():
        name = line.split()[0]
        place = REPOSITORY / "iterdpo" / name if line.startswith("  ") else REPOSITORY / name
        assert place.exists(), name


def test_every_target_of_the_makefile_tells_what_it_does() -> None:
    done = subprocess.run(
        ["make", "help"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    targets = re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), flags=re.MULTILINE)
    for target in targets:
        assert f"make {target} " in done.stdout, target
