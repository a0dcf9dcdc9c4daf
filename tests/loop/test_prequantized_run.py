"""The loop on bases that come quantized, from end to end and small: nothing needs a GPU."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from iterdpo.cli import execute as run
from iterdpo.cli.plan import plan
from iterdpo.config.schema import Config
from iterdpo.records import Pair
from iterdpo.runs.directory import Run
from iterdpo.store.tables import read_records
from tests.checkpoints import CheckpointOf
from tests.documented import make_documented
from tests.loop.conftest import Configure
from tests.narrowing import present
from tests.prequantized import AWQ, GPTQ, make_packed

SMALL = (
    "experiment=gptq_dpo", "engine=transformers", "model.dtype=float32",
    "judge.score=expected", "judge.min_mass=0", "prompts.per_iteration=6",
    "candidates.max_tokens=40", "training.process=inline", "training.learning_rate=0.01",
    "training.warmup=0", "training.batch_size=4", "evaluation.prompts=2", "evaluation.samples=1",
    "evaluation.reference_prompts=2", "evaluation.reference_samples=2",
)  # fmt: skip


@pytest.fixture(scope="session")
def checkpoint_in(tmp_path_factory: pytest.TempPathFactory) -> CheckpointOf:
    """A function from a method to a tiny Qwen2.5 in its format."""
    made: dict[str, Path] = {}

    def get(method: str) -> Path:
        if method not in made:
            directory = tmp_path_factory.mktemp(method)
            plain = make_documented(directory / "plain", "qwen2_5_instruct")
            made[method] = make_packed(plain, directory, {"gptq": GPTQ, "awq": AWQ}[method])
        return made[method]

    return get


@pytest.fixture
def small(configure: Configure, checkpoint_in: CheckpointOf, tmp_path: Path) -> Configure:
    """A function from a method to the overlay, small."""
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("".join(f"Name {count} animals.\n" for count in range(60)))

    def get(method: str, *overrides: str) -> Config:
        model = [] if method == "gptq" else [f"model=qwen2_5_7b_instruct_{method}"]
        place = checkpoint_in(method)
        return configure(
            *SMALL, *model, f"model.path={place}", f"prompts.path={prompts}", *overrides
        )

    return get


@pytest.mark.parametrize(("method", "iterations"), [("gptq", 2), ("awq", 1)])
def test_a_packed_base_answers_judges_and_is_trained_on(
    small: Configure, tmp_path: Path, method: str, iterations: int
) -> None:
    config = small(method, f"iterations={iterations}")
    assert config.model.quantization == method
    result = run.execute(config, tmp_path / "run")
    assert len(result.iterations) == iterations
    for made in result.iterations:
        assert made.judgments.scored == made.candidates == 6 * 4
        assert present(made.training).step0_loss == pytest.approx(0.693147, abs=1e-4)
        assert present(made.training).engine_gap < 1e-2
        pairs = Path(config.store.root) / made.stages.pairs
        assert len(read_records(pairs / "records.parquet", Pair)) >= made.pairs.kept > 0
    # Each after M0 is an adapter on the checkpoint itself, and what answered was proved to be it.
    models = [Run.open(tmp_path / "run").policy(f"M{number}") for number in range(iterations + 1)]
    assert {model.base for model in models} == {models[0].base}
    base = models[0].base
    assert (base.path, base.dequantized, base.quantization) == (
        config.model.path, config.model.path, method,
    )  # fmt: skip
    assert [model.name for model in models if model.adapter is None] == ["M0"]
    outcomes = {canary.outcome for canary in result.canaries.values()}
    assert outcomes <= {"applied", "inconclusive"}
    assert "applied" in outcomes
    # No image was made: of the base, the store has a record.
    (stage,) = (tmp_path / "store" / "base").iterdir()
    assert sorted(file.name for file in stage.iterdir() if file.suffix != ".lock") == [
        "base.json", "stage.json",
    ]  # fmt: skip
    assert json.loads((stage / "base.json").read_text())["quantization"] == method


def test_a_plan_loads_nothing(small: Configure) -> None:
    (head, steps), *_ = plan(small("gptq", "iterations=1"))
    assert head
    assert steps[0].stage == "base"
    assert steps[0].state == "runs"
