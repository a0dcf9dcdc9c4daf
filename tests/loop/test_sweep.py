"""Jobs that share a store: one computes, the others read."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from iterdpo.cli import execute as run
from iterdpo.cli.plan import plan
from iterdpo.evaluation.summary import Summary
from iterdpo.evaluation.summary_file import read_summary
from iterdpo.store.locks import locked
from iterdpo.store.runner import LOCKS_DIR
from tests.commands import run_python
from tests.loop.conftest import Configure
from tests.loop.sizes import LITTLE_MEASURED, SMALL
from tests.processes import started_with

pytestmark = pytest.mark.slow

BETAS = (0.05, 0.1, 0.3)
SHORT = (*LITTLE_MEASURED, "pairs.k=1")  # and as many answers as always: what they cost is counted


def assert_shared(results: list[Summary], store: Path) -> None:
    """Two iterations: the first is made once, the second by each job."""
    made = [[i.generated_tokens for i in result.iterations] for result in results]
    new = sum(i.generated_tokens_new for result in results for i in result.iterations)
    assert len({row[0] for row in made}) == 1
    assert new == made[0][0] + sum(row[1] for row in made)
    assert new <= 0.8 * sum(sum(row) for row in made)
    assert len(list((store / "candidates").glob("[!.]*"))) == 1 + len(results)
    assert len(list((store / "adapter").glob("[!.]*"))) == 2 * len(results)


def test_a_sweep_makes_the_first_iteration_once(configure: Configure, tmp_path: Path) -> None:
    results = [
        run.execute(
            configure("experiment=smoke", "iterations=2", *SHORT, f"training.beta={beta}"),
            tmp_path / str(beta),
        )
        for beta in BETAS
    ]
    assert_shared(results, tmp_path / "store")


def test_jobs_that_run_at_the_same_time_share_as_well(configure: Configure, tmp_path: Path) -> None:
    """Nobody may write the first candidates before both jobs ask for them. A signal to the sweep
    ends what it started, and the same command goes on."""
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="comes with the extra sweep")
    command = [
        sys.executable, "-m", "iterdpo", "-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2",
        "experiment=smoke", "iterations=2", *SHORT, f"training.beta={BETAS[0]},{BETAS[1]}",
        "tracking=none", "engine.device=cpu", "engine.threads=1",
        f"store.root={tmp_path / 'store'}", f"hydra.sweep.dir={tmp_path / 'sweep'}",
    ]  # fmt: skip
    steps = [step for _, steps in plan(configure("experiment=smoke", *SHORT)) for step in steps]
    first = next(step for step in steps if step.stage == "candidates")
    said = tmp_path / "said"

    def both_wait(started: ExitStack) -> subprocess.Popen[bytes]:
        out = started.enter_context(said.open("w"))
        jobs = started.enter_context(
            subprocess.Popen(
                command, stdout=out, stderr=out, env=os.environ | {"STARTED_BY": str(tmp_path)}
            )
        )
        started.callback(jobs.kill)
        while said.read_text().count("candidates: process") < 2 and jobs.poll() is None:
            time.sleep(0.2)
        return jobs

    with ExitStack() as started:
        with locked(tmp_path / "store" / LOCKS_DIR / f"candidates-{first.key}"):
            jobs = both_wait(started)
            jobs.terminate()
            assert jobs.wait() == 143, said.read_text()
            assert "Traceback" not in said.read_text()
            assert "run the same command again to resume" in said.read_text().splitlines()[-1]
            until = time.monotonic() + 60
            while started_with(f"STARTED_BY={tmp_path}") and time.monotonic() < until:
                time.sleep(0.05)
            assert started_with(f"STARTED_BY={tmp_path}") == set()
            jobs = both_wait(started)
        assert jobs.wait() == 0, said.read_text()
    assert said.read_text().count(f"candidates: process {os.getpid()} of ") == 2
    results = [read_summary(tmp_path / "sweep" / str(job)) for job in range(2)]
    assert_shared(results, tmp_path / "store")


def test_a_job_that_fails_neither_stops_nor_poisons_the_others(tmp_path: Path) -> None:
    command = [
        "-m", "iterdpo", "-m", "experiment=smoke", "iterations=1", *SMALL,
        "pairs.min_margin=4.9,0.0", "tracking=none", "engine.device=cpu",
        f"store.root={tmp_path / 'store'}", f"hydra.sweep.dir={tmp_path / 'sweep'}",
    ]  # fmt: skip
    done = run_python(*command)
    assert done.returncode == 1
    assert "no preference pair was left" in done.stdout  # in the table, beside the other's quality
    assert not (tmp_path / "sweep" / "0" / "failure.json").read_text().isspace()
    made = read_summary(tmp_path / "sweep" / "1")
    assert [model.name for model in made.models] == ["M0", "M1"]
    assert made.iterations[0].generated_tokens_new == 0  # the failed job had written them
