"""Runs with vLLM in processes of its own, that a signal meets in the middle of a part.

On one GPU vLLM's worker is its engine process, on a CPU a child of it unless ``ONE_PROCESS`` is in
the environment: then vLLM does not notice that it is asked for what it avoids on a CPU.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.loop.sizes import LITTLE_MEASURED
from tests.processes import started_with

ONE_PROCESS = {"VLLM_ENABLE_V1_MULTIPROCESSING": "01"}
SEED_MODEL = str(Path(__file__).resolve().parents[1] / "iterdpo" / "lab" / "seed")
_PARTS = "candidates/.work-*/*/shards/*.parquet"
_IN_THE_SECOND_PART = f"""
import os, sys
from pathlib import Path
from iterdpo.engines.vllm_process import VllmProcess
run = VllmProcess.run
def wait(self, requests, policy):
    in_hand = 0
    for output in run(self, requests, policy):
        in_hand += any((Path(os.environ["STARTED_BY"]) / "store").glob("{_PARTS}"))
        if in_hand == 2:
            print("waits", flush=True)
            sys.stdin.readline()
        yield output
VllmProcess.run = wait
from iterdpo.__main__ import main
main()
"""


@contextmanager
def waiting_run(
    tmp_path: Path,
    *overrides: str,
    env: dict[str, str] | None = None,
    program: str = _IN_THE_SECOND_PART,
) -> Iterator[subprocess.Popen[str]]:
    """Start a run that says ``waits`` in the midst of the second part of the candidates, which has
    four prompts as each has, and waits for a line of input, or its end.

    It leads a group of processes of its own, as what a terminal starts does. Another ``program``
    may say ``waits`` elsewhere.
    """
    command = [
        sys.executable, "-c", program, "experiment=smoke", "iterations=1",
        "tracking=none", "report=false", "engine=vllm", "engine.vllm.cache_gib=0.2",
        "engine.shard_rows=24", "prompts.per_iteration=100", *LITTLE_MEASURED,
        f"store.root={tmp_path / 'store'}", f"hydra.run.dir={tmp_path / 'run'}", *overrides,
    ]  # fmt: skip
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"STARTED_BY": str(tmp_path)} | (env or {}), start_new_session=True,
    ) as run:  # fmt: skip
        yield run


def parts(tmp_path: Path) -> int:
    """Return how many parts of the candidates are kept."""
    return len(list((tmp_path / "store").glob(_PARTS)))


def engine_process(run: int) -> int:
    """Return the process that the engine of the run ``run`` is in."""
    started = psutil.Process(run).children()
    (engine,) = (one for one in started if any("spawn_main" in word for word in one.cmdline()))
    return int(engine.pid)


def all_ended(tmp_path: Path, seconds: float = 60) -> bool:
    """Return whether everything that the run started ends; waits for it."""
    until = time.monotonic() + seconds
    while (left := started_with(f"STARTED_BY={tmp_path}")) and time.monotonic() < until:
        time.sleep(0.05)
    return not left
