"""Where a training runs: in this process, or in a child that gives its memory back for certain."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from iterdpo.errors import LineageError, UserError
from iterdpo.progress import Bar
from iterdpo.training.spec import REPORT_FILE, TrainSpec

SPEC_FILE = "spec.json"


def run_training(spec: TrainSpec, out: Path, description: str) -> dict[str, Any]:
    """Train as ``spec.training.process`` says and return what ``training.json`` holds.

    Raises:
        LineageError, UserError: as ``dpo.train``, from the child as well.
    """
    if spec.training.process == "inline":
        return train_here(spec, out, description)
    return _train_in_child(spec, out, description)


def train_here(spec: TrainSpec, out: Path, description: str) -> dict[str, Any]:
    """Train in this process, with a progress bar."""
    from iterdpo.training.dpo import train

    with Bar(description, "step") as bar:
        return train(spec, out, bar.update)


def _train_in_child(spec: TrainSpec, out: Path, description: str) -> dict[str, Any]:
    spec_file = out / SPEC_FILE
    spec.write(spec_file)
    command = [sys.executable, "-m", "iterdpo.training", str(spec_file), str(out), description]
    child = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=None, check=False)
    spec_file.unlink()
    failure = out / "failure.json"
    if failure.is_file():
        said = json.loads(failure.read_text("utf-8"))
        raise {"UserError": UserError, "LineageError": LineageError}[said["kind"]](said["message"])
    if child.returncode != 0:
        raise RuntimeError(f"the training process ended with status {child.returncode}")
    report: dict[str, Any] = json.loads((out / REPORT_FILE).read_text("utf-8"))
    return report
