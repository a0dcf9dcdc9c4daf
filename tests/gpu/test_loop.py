"""The loop on a GPU from end to end: NF4, TRL, adapters and proofs on CUDA."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from iterdpo.cli import execute as run
from iterdpo.errors import UserError
from iterdpo.evaluation.summary import Summary
from tests.loop.conftest import Configure
from tests.narrowing import present

pytestmark = pytest.mark.gpu

TINY = (
    "experiment=own_model", "iterations=2", "prompts.per_iteration=6", "candidates.n=8",
    # A random model ends its answers by chance, and only those that end make pairs.
    "candidates.max_tokens=200", "engine.transformers.batch_size=64", "judge.score=expected",
    "judge.min_mass=0", "training.batch_size=4", "training.micro_batch_size=2",
    "training.learning_rate=1e-3", "training.max_length=null", "evaluation.prompts=3",
    "evaluation.reference_prompts=3", "evaluation.reference_samples=2",
)  # fmt: skip


@pytest.fixture
def loop(
    configure: Configure, device: str, request: pytest.FixtureRequest, tmp_path: Path
) -> Callable[..., Summary]:
    """A function from an engine, a type and overrides to a finished run's summary."""

    def finished(engine: str, dtype: str, *overrides: str) -> Summary:
        if engine == "vllm":
            request.getfixturevalue("vllm")
        config = configure(*overrides, f"engine.backend={engine}", f"model.dtype={dtype}")
        try:
            return run.execute(config, tmp_path / "run")
        except UserError as error:
            # vLLM's kernels for adapters on CUDA know the half types only.
            if (engine, dtype, device) == ("vllm", "float32", "cuda"):
                pytest.skip(f"vLLM serves no adapter in float32 on CUDA: {error}")
            raise

    return finished


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.jsonl"
    rows = [{"prompt": f"Say {n} and a word about it."} for n in range(200)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def check(result: Summary, engine: str, dtype: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Check what must be true of every run of two iterations."""
    assert [model.name for model in result.models] == ["M0", "M1", "M2"]
    assert len({model.adapter_sha256 for model in result.models}) == 3
    assert result.run.engine.name == engine
    for made in result.iterations:
        training = present(made.training)
        with capsys.disabled():
            print(
                f"\n{engine} {dtype} M{made.iteration}: {training.pairs} pairs, step 0 "
                f"{training.step0_loss:.6f}, engine and trainer differ by up to "
                f"{training.engine_gap:.4f} nats a text"
            )
        assert made.pairs.kept >= 1
        assert training.reference_unchanged is True
        assert training.step0_largest_reward <= 1e-4
        assert training.step0_loss == pytest.approx(training.step0_expected_loss, abs=1e-4)
        if dtype == "float32":
            assert training.engine_gap < 0.05
    outcomes = {canary.outcome for canary in result.canaries.values()}
    assert outcomes <= ({"applied"} if dtype == "float32" else {"applied", "inconclusive"})


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("engine", ["transformers", "vllm"])
def test_the_lab(
    loop: Callable[..., Summary], engine: str, dtype: str, capsys: pytest.CaptureFixture[str]
) -> None:
    result = loop(engine, dtype, "experiment=smoke", "iterations=2")
    check(result, engine, dtype, capsys)
    # The seed model is itself on this device.
    assert present(result.models[0].evaluation.quality).mean > 2
    assert {made.judgments.scored for made in result.iterations} == {24 * 6}


@pytest.mark.parametrize(
    ("engine", "width", "dtype"),
    [("transformers", 64, "float32"), ("transformers", 128, "bfloat16"), ("vllm", 128, "bfloat16")],
)
def test_a_random_model(
    loop: Callable[..., Summary],
    checkpoint_of_width: Callable[[int], Path],
    prompts: Path,
    engine: str,
    width: int,
    dtype: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    own = (f"model.path={checkpoint_of_width(width)}", f"prompts.path={prompts}")
    result = loop(engine, dtype, *TINY, *own)
    check(result, engine, dtype, capsys)


@pytest.mark.parametrize("residency", ["sleep", "restart"])
def test_the_lab_while_the_engine_is_away(
    loop: Callable[..., Summary],
    device: str,
    residency: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if device == "cpu" and residency == "sleep":
        pytest.skip("vLLM sleeps on CUDA only")
    result = loop(
        "vllm", "bfloat16", "experiment=smoke", "iterations=2", f"engine.residency={residency}"
    )
    check(result, "vllm", "bfloat16", capsys)
    assert result.run.engine.starts == (3 if residency == "restart" else 1)


def test_a_training_of_its_own_process(
    loop: Callable[..., Summary], device: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if device == "cpu":
        pytest.skip("a rehearsal trains bfloat16 in its own process only")
    result = loop(
        "transformers", "bfloat16", "experiment=smoke", "iterations=2", "training.process=spawn"
    )
    check(result, "transformers", "bfloat16", capsys)


def test_a_sampled_judge_and_the_base_as_reference(
    loop: Callable[..., Summary], capsys: pytest.CaptureFixture[str]
) -> None:
    """The rewards of the second iteration are not 0, and still those of independent arithmetic."""
    result = loop(
        "transformers", "bfloat16", "experiment=smoke", "iterations=2", "judge.score=sampled",
        "judge.samples=2", "training.reference=base", "training.gradient_checkpointing=true",
    )  # fmt: skip
    assert len(result.models) == 3
    first, second = (present(made.training) for made in result.iterations)
    assert first.step0_largest_reward <= 1e-4 < second.step0_largest_reward
