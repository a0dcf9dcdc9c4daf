"""Signals at a run on a card: nothing finished is lost, and the card is free afterwards."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.gpu.engines import VLLM_SHARE, settles_below, used_memory
from tests.processes import children_of, started_with, until_it_waits
from tests.vllm_stops import ONE_PROCESS, all_ended, engine_process, parts, waiting_run

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("vllm")]

SLACK = 256 * 2**20
"""Bytes by which what other processes hold may change meanwhile."""
_VLLM_STARTS = """
import vllm
LLM = vllm.LLM
def say(*args, **kwargs):
    print("waits", flush=True)
    return LLM(*args, **kwargs)
vllm.LLM = say
from iterdpo.__main__ import main
main()
"""


@pytest.fixture
def env(device: str) -> dict[str, str] | None:
    """What makes vLLM on a CPU, in a rehearsal, the processes that it is on one GPU."""
    return ONE_PROCESS if device == "cpu" else None


@pytest.fixture
def overrides(device: str) -> Sequence[str]:
    """Settings of a run that leaves the card to others too."""
    share = f"engine.vllm.memory_share={VLLM_SHARE}"
    return f"engine.device={device}", "model.dtype=bfloat16", share, "engine.vllm.eager=true"


def test_ctrl_c_in_a_part_finishes_it_and_stops(
    tmp_path: Path, overrides: Sequence[str], env: dict[str, str] | None
) -> None:
    with waiting_run(tmp_path, *overrides, env=env) as run:
        until_it_waits(run)
        os.killpg(run.pid, signal.SIGINT)
        said = run.communicate()[1]
    assert run.returncode == 130
    assert "stopped by SIGINT; run the same command again to resume" in said
    assert "Traceback" not in said
    assert parts(tmp_path) == 2
    assert all_ended(tmp_path)


def test_a_run_that_is_killed_frees_the_card(
    tmp_path: Path, device: str, overrides: Sequence[str], env: dict[str, str] | None
) -> None:
    before = used_memory() if device == "cuda" else 0
    with waiting_run(tmp_path, *overrides, env=env) as run:
        until_it_waits(run)
        left = started_with(f"STARTED_BY={tmp_path}") - {run.pid}
        run.kill()
        run.wait()  # what it started holds its pipes
        assert all_ended(tmp_path)
    if device == "cuda":
        assert settles_below(before + SLACK, 30) < before + SLACK
        assert not left & holding()


def holding() -> set[int]:
    """Return the processes that the driver lists on a card; none where it tells nothing."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return set()
    asked = [program, "--query-compute-apps=pid", "--format=csv,noheader"]
    lines = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()
    return {int(line) for line in lines if line.isdigit()}


def test_an_engine_process_that_is_killed_is_a_line(
    tmp_path: Path, overrides: Sequence[str], env: dict[str, str] | None
) -> None:
    with waiting_run(tmp_path, *overrides, env=env) as run:
        until_it_waits(run)
        os.kill(engine_process(run.pid), signal.SIGKILL)
        said = run.communicate()[1]
    assert run.returncode == 2
    assert "iterdpo: engine=vllm: vLLM's engine process ended with exit status -9" in said
    assert "Traceback" not in said


def test_a_signal_while_vllm_starts_stops_within_a_minute(
    tmp_path: Path, overrides: Sequence[str], env: dict[str, str] | None
) -> None:
    with waiting_run(tmp_path, *overrides, env=env, program=_VLLM_STARTS) as run:
        until_it_waits(run)
        while not children_of(run.pid) and run.poll() is None:  # of which the first is vLLM's
            time.sleep(0.05)
        run.send_signal(signal.SIGTERM)
        said = run.communicate(timeout=60)[1]
    assert run.returncode == 143
    assert said.splitlines()[-1].endswith(
        "stopped by SIGTERM; run the same command again to resume"
    )
    assert "Traceback" not in said
    assert all_ended(tmp_path)
