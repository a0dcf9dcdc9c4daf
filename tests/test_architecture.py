"""Which way imports point, and what importing the light modules must not load."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "iterdpo"

LAYERS = (
    ("errors",),
    ("conversation", "reasons", "settings"),
    ("records",),
    ("runtime",),
    ("store",),
    ("models",),
    ("config", "data"),
    ("engines", "pairing", "training"),
    ("verifiers",),
    ("judging",),
    ("lab",),
    ("evaluation", "prompts"),
    ("stages",),
    ("recipe", "rounds"),
    ("evaluator",),
    ("loop", "tracking"),
    ("assemble",),
    ("runs",),
    ("tools",),
    ("api", "cli"),
    (
        "__init__",
        "__main__",
        "benchmark",
        "canary",
        "chat",
        "compare",
        "export",
        "judge_check",
        "label",
        "report",
        "sharing",
    ),
)
"""Every room and loose file of the package, the lowest first: a layer imports what lies below it.

Rooms that share a layer know nothing of each other.
"""
HEAVY = ("torch", "transformers", "trl", "peft", "bitsandbytes", "datasets", "vllm", "wandb")


def imports(path: Path) -> set[str]:
    """Return the package's own modules that a file imports anywhere, without the prefix."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("iterdpo"):
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("iterdpo.")}
    return {name.removeprefix("iterdpo").lstrip(".") for name in found} - {""}


def room(module: str) -> str:
    return module.split(".")[0]


def test_imports_point_down() -> None:
    level = {name: number for number, layer in enumerate(LAYERS) for name in layer}
    files = sorted(PACKAGE.rglob("*.py"))
    assert {room(place.relative_to(PACKAGE).parts[0].removesuffix(".py")) for place in files} == (
        set(level)
    )
    for file in files:
        own = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for module in imports(file):
            there = room(module)
            if there not in (own, "__version__"):
                assert level[there] < level[own], f"{file.relative_to(PACKAGE)} imports {module}"


def test_no_two_files_import_each_other_by_any_way() -> None:
    modules = {
        ".".join(file.relative_to(PACKAGE).with_suffix("").parts): imports(file)
        for file in PACKAGE.rglob("*.py")
        if file.name != "__init__.py"
    }
    graph = {name: {it for it in found if it in modules} for name, found in modules.items()}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_only_assemble_builds_from_configuration() -> None:
    # Schema classes may be named elsewhere as types; the whole Config only around the loop.
    users = {
        file.relative_to(PACKAGE).parts[0]
        for file in PACKAGE.rglob("*.py")
        if re.search(r"schema import .*\bConfig\b", file.read_text("utf-8"))
    }
    assert users == {"api.py", "assemble", "cli", "config", "runs"}


@pytest.mark.parametrize(
    "module", ["iterdpo.loop", "iterdpo.config.check", "iterdpo.cli.run", "iterdpo.assemble"]
)
def test_light_modules_load_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_module_is_long_and_none_is_a_drawer() -> None:
    for file in PACKAGE.rglob("*.py"):
        assert len(file.read_text("utf-8").splitlines()) <= 300, file
        assert "util" not in file.stem, file


def test_texts_of_others_are_markup_on_no_console() -> None:
    users = {
        file.relative_to(PACKAGE).as_posix()
        for file in PACKAGE.rglob("*.py")
        if re.search(r"\bConsole\(|rich import print|from_markup", file.read_text("utf-8"))
    }
    assert users == {"runtime/terminal.py"}


def test_no_room_swallows_errors_whole() -> None:
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.ExceptHandler):
                silent = len(node.body) == 1 and isinstance(node.body[0], ast.Pass)
                assert node.type is not None, file
                assert not silent, f"{file}:{node.lineno}"
