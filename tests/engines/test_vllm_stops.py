"""Signals at a run whose vLLM has processes of its own, as on a GPU; here on a CPU."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import until_it_waits
from tests.vllm_stops import ONE_PROCESS, all_ended, parts, waiting_run

pytestmark = [pytest.mark.usefixtures("vllm"), pytest.mark.slow]


def test_ctrl_c_in_a_part_finishes_it_and_stops(tmp_path: Path) -> None:
    with waiting_run(tmp_path, "engine.device=cpu", env=ONE_PROCESS) as run:
        until_it_waits(run)
        assert parts(tmp_path) == 1
        os.killpg(run.pid, signal.SIGINT)
        said = run.communicate()[1]
    assert run.returncode == 130
    assert "stopped by SIGINT; run the same command again to resume" in said
    assert "Traceback" not in said
    assert parts(tmp_path) == 2
    assert all_ended(tmp_path)


_TWO_ENGINES = """
import os, signal, sys
from iterdpo.engines.base import Sampling
from iterdpo.engines.vllm import VllmEngine
from iterdpo.engines.vllm_process import VllmSettings
from iterdpo.errors import EngineDiedError
from iterdpo.lab.splits import instructions
from iterdpo.models.chat_messages import Request
from iterdpo.records import Base, Policy
from tests.vllm_stops import SEED_MODEL, engine_process

policy = Policy("M0", Base(SEED_MODEL, "0", "none", "float32", SEED_MODEL))
requests = [Request.of(text) for text in instructions("evaluation")[:8]]
engine = VllmEngine(VllmSettings(device="cpu", cache_gib=0.2))
answers = engine.generate(requests, policy, Sampling(max_tokens=24))
next(answers)
os.kill(engine_process(os.getpid()), signal.SIGKILL)
try:
    list(answers)
    list(engine.generate(requests, policy, Sampling(max_tokens=24)))
except EngineDiedError as error:
    print(error)
engine.close()
os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "1"
next(engine.generate(requests, policy, Sampling(max_tokens=24)))
print("waits", flush=True)
sys.stdin.readline()
"""


def test_an_engine_that_is_killed_is_a_line_and_one_whose_run_is_killed_ends(
    tmp_path: Path,
) -> None:
    """The first is one process, as on a GPU; the second has a worker, as on several."""
    env = os.environ | ONE_PROCESS | {"STARTED_BY": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", _TWO_ENGINES], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True, env=env, start_new_session=True,
    ) as run:  # fmt: skip
        assert run.stdout is not None
        assert run.stdout.readline().startswith(
            "engine=vllm: vLLM's engine process ended with exit status -9 while it was needed; "
        )
        until_it_waits(run)
        run.kill()
        run.wait()  # what it started holds its pipes
        assert all_ended(tmp_path)
