"""The lab's loop with vLLM for real, on CPU."""

from __future__ import annotations

from pathlib import Path

import pytest

from iterdpo.cli import execute as run
from iterdpo.evaluation.summary_file import read_summary
from tests.loop.conftest import Configure
from tests.loop.sizes import SMALL
from tests.narrowing import present

pytestmark = [pytest.mark.usefixtures("vllm"), pytest.mark.slow]

SMOKE = ("experiment=smoke", "iterations=2", "engine=vllm", "engine.vllm.cache_gib=0.2", *SMALL)


@pytest.mark.parametrize(("residency", "starts"), [("auto", 1), ("restart", 3)])
def test_two_iterations_over_one_engine_or_a_new_one_after_each_training(
    configure: Configure, tmp_path: Path, residency: str, starts: int
) -> None:
    result = run.execute(configure(*SMOKE, f"engine.residency={residency}"), tmp_path / "run")
    assert [model.name for model in result.models] == ["M0", "M1", "M2"]
    engine = result.run.engine
    assert (engine.name, engine.starts) == ("vllm", starts)
    assert {canary.outcome for canary in result.canaries.values()} == {"applied"}
    for made in result.iterations:
        assert made.judgments.unscored == 0
        assert present(made.training).engine_gap < 1e-3
        assert present(made.training).step0_largest_reward == pytest.approx(0, abs=1e-4)
        assert made.usage["candidates"].tokens_per_second > 0
        assert made.usage["judgments"].prompt_tokens > 8 * 6


def test_a_run_with_vllm_that_is_read_again_does_not_start_it(
    configure: Configure, tmp_path: Path
) -> None:
    first = run.execute(configure(*SMOKE, "iterations=1"), tmp_path / "first")
    again = run.execute(configure(*SMOKE, "iterations=1"), tmp_path / "again")
    assert again.models == first.models
    assert again.run.engine.starts == 0
    assert read_summary(tmp_path / "again").models
