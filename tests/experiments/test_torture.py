"""A smaller version of ``make torture``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.torture_child import point_of

REPOSITORY = Path(__file__).resolve().parents[2]
SHARD_ROWS = 24


@pytest.mark.slow
def test_a_run_that_is_killed_ends_with_the_same_bytes_and_keeps_them() -> None:
    command = [sys.executable, "-m", "experiments.torture", "--kills", "3", "--no-points",
               "--events", "5", "iterations=1"]  # fmt: skip
    done = subprocess.run(
        command, cwd=REPOSITORY, env=os.environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout[done.stdout.index("{") :])
    assert (report["kills"], report["failures"]) == (3, [])
    assert list(report["events"].values()) == [1] * 5
    assert report["work"]["tokens"] > 24 * 6
    # A shard holds 24 rows: so many judgments, and answers of at most 48 tokens.
    assert 0 <= report["repeated"]["judgments"] <= 3 * SHARD_ROWS
    assert 0 <= report["repeated"]["tokens"] <= 3 * SHARD_ROWS * 48


def test_writes_are_named_by_what_they_make(tmp_path: Path) -> None:
    names = {
        "candidates/.work-1/shards/00000000-00000004.x.parquet": "candidates shard replace",
        "adapter/.work-1/checkpoints/.partial-1": "adapter kept replace",
        "adapter/0123/adapter": "adapter stage replace",
        ".runs/1.json": ".runs replace",
    }
    for path, name in names.items():
        assert point_of("replace", tmp_path / path, tmp_path) == name
    assert (
        point_of("fsync", tmp_path.parent / "run" / "summary.json", tmp_path) == "run .json fsync"
    )
