"""What is released: one version, told alike everywhere, and a wheel that holds all it needs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

import iterdpo

REPOSITORY = Path(__file__).resolve().parent.parent
NAME = f"iterdpo-{iterdpo.__version__}"
WHEEL = f"{NAME}-py3-none-any.whl"


def build(tree: Path, out: Path, *targets: str) -> None:
    """Do what ``make build`` does, in the interpreter that runs: no environment, no network."""
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(out), *targets],
        cwd=tree, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with the wheel and the source distribution of this tree."""
    pytest.importorskip("hatchling", reason="comes with extra dev")
    out = tmp_path_factory.mktemp("dist")
    build(REPOSITORY, out)
    return out


def packed(wheel: Path) -> set[str]:
    """Return the files of a wheel but for its metadata."""
    return {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}


def files(directory: Path) -> set[str]:
    return {
        str(file.relative_to(directory.parent))
        for file in directory.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }


def test_a_build_has_the_version_of_the_package(built: Path) -> None:
    assert {file.name for file in built.iterdir()} == {WHEEL, f"{NAME}.tar.gz"}


def test_the_wheel_holds_the_package_whole_and_the_configuration(built: Path) -> None:
    conf = {f"iterdpo/{name}" for name in files(REPOSITORY / "conf")}
    held = packed(built / WHEEL)
    assert held == files(REPOSITORY / "iterdpo") | conf
    assert {
        "iterdpo/conf/config.yaml",
        "iterdpo/judging/rubrics/additive.jinja",
        "iterdpo/lab/seed/model.safetensors",
        "iterdpo/py.typed",
        "iterdpo/tools/report/page/page.html",
    } <= held


@pytest.mark.slow
def test_the_wheel_plans_a_run_away_from_the_repository(built: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(built / WHEEL).extractall(tmp_path / "site")
    done = subprocess.run(
        [sys.executable, "-m", "iterdpo", "plan", "experiment=smoke", "engine.device=cpu"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "stages: " in done.stdout.splitlines()[-1]


def test_the_source_distribution_builds_the_same_wheel(built: Path, tmp_path: Path) -> None:
    with tarfile.open(built / f"{NAME}.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    build(tmp_path / NAME, tmp_path / "again", "-t", "wheel")
    assert packed(tmp_path / "again" / WHEEL) == packed(built / WHEEL)


def test_the_citation_and_the_changelog_are_of_this_version() -> None:
    cited = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text("utf-8"))
    assert cited["version"] == iterdpo.__version__
    changes = (REPOSITORY / "CHANGELOG.md").read_text("utf-8")
    sections = re.findall(r"^## (.*)$", changes, flags=re.MULTILINE)
    released = cited["date-released"].isoformat()
    assert sections[:2] == ["[Unreleased]", f"[{iterdpo.__version__}] - {released}"]
