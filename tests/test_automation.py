"""What runs by itself elsewhere: workflows, hooks and forms, held against what they call here."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import iterdpo

REPOSITORY = Path(__file__).resolve().parent.parent
GITHUB = REPOSITORY / ".github"
MAKEFILE = (REPOSITORY / "Makefile").read_text("utf-8")
WORKFLOWS = ("ci", "nightly")
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]


def parsed(file: Path) -> Any:
    return yaml.safe_load(file.read_text("utf-8"))


def jobs(name: str) -> list[dict[str, Any]]:
    return list(parsed(GITHUB / "workflows" / f"{name}.yml")["jobs"].values())


def steps(name: str) -> list[dict[str, Any]]:
    return [step for job in jobs(name) for step in job["steps"]]


def test_every_yaml_file_can_be_read() -> None:
    files = [*GITHUB.rglob("*.yml"), REPOSITORY / ".pre-commit-config.yaml"]
    assert len(files) >= 6
    for file in files:
        assert parsed(file), file


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_calls_targets_that_the_makefile_has(name: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, flags=re.MULTILINE))
    runs = [shlex.split(step["run"]) for step in steps(name) if "run" in step]
    called = {word for words in runs if words[0] == "make" for word in words[1:]}
    assert {"install", "test"} <= called <= targets


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_may_only_read_and_pins_what_it_uses(name: str) -> None:
    workflow = parsed(GITHUB / "workflows" / f"{name}.yml")
    assert workflow["permissions"] == {"contents": "read"}
    assert not any("permissions" in job for job in jobs(name))
    assert workflow["concurrency"]["cancel-in-progress"] is True
    assert all(job["timeout-minutes"] <= 90 for job in jobs(name))
    for step in steps(name):
        assert re.fullmatch(r"actions/[a-z-]+@v\d+", step.get("uses", "actions/some@v1"))


def test_the_matrix_has_every_python_and_both_ends_of_the_versions() -> None:
    (job,) = jobs("ci")
    cells = job["strategy"]["matrix"]["include"]
    prefix = "Programming Language :: Python :: 3."
    supported = {it.split()[-1] for it in PROJECT["classifiers"] if it.startswith(prefix)}
    assert {cell["python"] for cell in cells} == supported
    assert PROJECT["requires-python"] == f">={min(supported)}"
    assert {cell["versions"] for cell in cells} == {"cpu", "lowest", "newest"}
    for cell in cells:
        assert (REPOSITORY / "constraints" / f"{cell['versions']}.txt").is_file()
        assert cell["versions"] != "lowest" or cell["python"] == min(supported)
    assert "yes" in {cell["vllm"] for cell in cells}


def test_the_hooks_run_what_make_check_runs() -> None:
    (check,) = re.findall(r"^check: .*\n((?:\t.*\n)+)", MAKEFILE, flags=re.MULTILINE)
    wanted = {line.strip().removeprefix("$(BIN)/") for line in check.splitlines()}
    (local,) = [
        it
        for it in parsed(REPOSITORY / ".pre-commit-config.yaml")["repos"]
        if it["repo"] == "local"
    ]
    entries = [shlex.split(hook["entry"].removeprefix(".venv/bin/")) for hook in local["hooks"]]
    tools = {" ".join(word for word in entry if word[0] != "-") for entry in entries}
    assert tools == {re.sub(r" --check| \.$", "", line) for line in wanted}


def test_the_bug_form_asks_for_versions_by_a_command_that_prints_them() -> None:
    form = parsed(GITHUB / "ISSUE_TEMPLATE" / "bug_report.yml")
    fields = {it["id"]: it["attributes"] for it in form["body"] if "id" in it}
    assert {"command", "config", "versions"} <= fields.keys()
    found = re.search(r"`python (.*)`", fields["versions"]["description"])
    assert found is not None
    done = subprocess.run(
        [sys.executable, *shlex.split(found[1])], capture_output=True, text=True, check=True
    )
    versions = dict(line.split() for line in done.stdout.splitlines())
    assert versions["iterdpo"] == iterdpo.__version__
    assert {"python", "torch", "transformers", "trl"} <= versions.keys()


@pytest.mark.parametrize("form", ["bug_report", "feature_request"])
def test_a_form_has_what_the_host_requires(form: str) -> None:
    read = parsed(GITHUB / "ISSUE_TEMPLATE" / f"{form}.yml")
    assert read["name"]
    assert read["description"]
    ids = [field["id"] for field in read["body"] if field["type"] != "markdown"]
    assert len(set(ids)) == len(ids) > 0
    for field in read["body"]:
        assert field["type"] in ("markdown", "textarea", "input", "dropdown", "checkboxes")
        assert "value" in field["attributes"] or field["attributes"]["label"]
