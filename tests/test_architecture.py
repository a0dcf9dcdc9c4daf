"""Which way imports point, and what importing the light modules must not load."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "iterdpo"

# What each room may know of the package. A name allows the module and everything below it.
ALLOWED = {
    "records.py": (),
    "errors.py": (),
    "progress.py": (),
    "stopping.py": (),
    "config": ("errors", "config", "engines.choice", "engines.prequantized"),
    "data": ("errors", "records", "data", "engines.base"),
    "prompts": ("errors", "records", "data", "engines.base", "prompts", "lab.splits"),
    "judging": ("errors", "records", "judging", "engines.base", "engines.batching", "engines.chat",
                "engines.loading"),
    "pairing": ("records", "pairing"),
    "evaluation": ("config.health", "errors", "records", "evaluation", "lab"),
    "lab": ("lab", "judging.rubrics"),
    "store": ("errors", "records", "progress", "stopping", "store", "terminal"),
    "engines": ("errors", "records", "engines", "store", "training.spec"),
    "training": ("errors", "records", "config", "quiet", "progress", "stopping", "training",
                 "store", "engines.loading", "engines.packed_checkpoint", "engines.prequantized"),
    "report": ("command", "config.inert", "errors", "evaluation.resampling",
               "evaluation.statistics", "lab.oracle", "records", "report", "runs", "steps.base",
               "steps.measuring", "store.atomic", "store.hashing", "store.peaks", "terminal",
               "training.spec"),
    "sharing": ("config.hub", "config.secrets", "data.rows", "engines.prequantized", "errors",
                "evaluation.table", "records", "report.settings", "runs", "sharing", "store.atomic",
                "store.stages", "terminal"),
    "export": ("engines.loading", "engines.prequantized", "errors", "export", "quiet", "records",
               "runs", "store.atomic", "terminal", "training"),
    "evaluator.py": ("evaluation", "loop", "prompts.base", "recipe", "records", "steps.checking",
                     "store"),
    "loop.py": ("evaluation", "evaluator", "pairing", "prompts.base", "recipe", "records", "store"),
}  # fmt: skip
HEAVY = ("torch", "transformers", "trl", "peft", "bitsandbytes", "datasets", "vllm", "wandb")


def imports(path: Path) -> set[str]:
    """Return the package's own modules that a file imports anywhere, without the prefix."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("iterdpo"):
            module = (node.module or "").removeprefix("iterdpo").lstrip(".")
            found |= {module} if module else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {
                alias.name.removeprefix("iterdpo.")
                for alias in node.names
                if alias.name.startswith("iterdpo.")
            }
    return found


@pytest.mark.parametrize("room", ALLOWED)
def test_imports_point_inward(room):
    place = PACKAGE / room
    files = [place] if place.is_file() else sorted(place.rglob("*.py"))
    assert files
    for file in files:
        for module in imports(file):
            allowed = any(module == name or module.startswith(f"{name}.") for name in ALLOWED[room])
            assert allowed, f"{file.relative_to(PACKAGE)} imports {module}"


def test_only_assemble_builds_from_configuration():
    # Schema classes may be named elsewhere as types; the whole Config only around the loop.
    users = {
        file.relative_to(PACKAGE).parts[0]
        for file in PACKAGE.rglob("*.py")
        if re.search(r"schema import .*\bConfig\b", file.read_text("utf-8"))
    }
    assert users == {
        "assemble",
        "command.py",
        "config",
        "plan.py",
        "run.py",
        "runs.py",
        "summary.py",
    }


@pytest.mark.parametrize(
    "module", ["iterdpo.loop", "iterdpo.config.check", "iterdpo.command", "iterdpo.assemble"]
)
def test_light_modules_load_nothing_heavy(module):
    code = f"import sys, {module}; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_module_is_long_and_none_is_a_drawer():
    for file in PACKAGE.rglob("*.py"):
        assert len(file.read_text("utf-8").splitlines()) <= 300, file
        assert "util" not in file.stem, file


def test_no_room_swallows_errors_whole():
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.ExceptHandler):
                silent = len(node.body) == 1 and isinstance(node.body[0], ast.Pass)
                assert node.type is not None, file
                assert not silent, f"{file}:{node.lineno}"
