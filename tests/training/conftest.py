"""A tiny base, an engine on its image, and answers of that engine to train on."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from iterdpo.config.schema import LoraConfig, TrainingConfig
from iterdpo.engines.base import Request, Sampling
from iterdpo.engines.transformers import TransformersEngine, TransformersSettings
from iterdpo.records import Base, Policy
from iterdpo.store.tables import write_records
from iterdpo.training.base_model import save_image
from iterdpo.training.spec import Example, TrainSpec

TRAINING = TrainingConfig(
    beta=0.1,
    loss=("sigmoid",),
    loss_weights=(1.0,),
    label_smoothing=0.0,
    reference="previous",
    learning_rate=1e-2,
    schedule="constant",
    warmup=0.0,
    epochs=1,
    batch_size=3,
    micro_batch_size=3,
    max_grad_norm=1.0,
    weight_decay=0.0,
    optimizer="adamw_torch",
    gradient_checkpointing=False,
    max_length=None,
    process="inline",
    step0_tolerance=1e-4,
)


@pytest.fixture(scope="session")
def base_of(checkpoint_of, tmp_path_factory: pytest.TempPathFactory):
    """A function from a quantization to a prepared base."""
    made: dict[str, Base] = {}

    def get(quantization: str) -> Base:
        if quantization not in made:
            checkpoint = str(checkpoint_of("llama"))
            base = Base(checkpoint, "0", quantization, "float32", checkpoint)
            if quantization != "none":
                image = tmp_path_factory.mktemp("image")
                save_image(base, image)
                base = dataclasses.replace(base, image=str(image))
            made[quantization] = base
        return made[quantization]

    return get


@pytest.fixture
def engine():
    engine = TransformersEngine(TransformersSettings(device="cpu", batch_size=16))
    yield engine
    engine.close()


@pytest.fixture
def make_spec(base_of, engine, tmp_path: Path):
    """A function that writes pairs of the policy's own answers and asks for a training on them."""

    def make(quantization: str = "none", policy: Policy | None = None, **changes) -> TrainSpec:
        policy = policy or Policy("M0", base_of(quantization))
        requests = [Request.of(f"Name {n} animals.") for n in range(6)]
        done = list(engine.generate(requests, policy, Sampling(n=2, max_tokens=8, seed=5)))
        examples = [
            Example(a.prompt_token_ids, a.token_ids, b.token_ids, sum(a.logprobs), sum(b.logprobs))
            for a, b in zip(done[::2], done[1::2], strict=True)
        ]
        path = tmp_path / "examples.parquet"
        write_records(path, Example, examples)
        spec_changes = {
            name: changes.pop(name)
            for name in ("policy_adapter", "reference_adapter", "reference_is_start")
            if name in changes
        }
        spec = TrainSpec(
            base=policy.base,
            lora=LoraConfig(rank=4, alpha=8, dropout=0.0, target_modules="all-linear"),
            training=dataclasses.replace(TRAINING, **changes),
            policy_adapter=policy.adapter.path if policy.adapter else None,
            reference_adapter=policy.adapter.path if policy.adapter else None,
            reference_is_start=True,
            examples=str(path),
            seed=0,
            attention=None,
            trust_remote_code=False,
        )
        return dataclasses.replace(spec, **spec_changes)

    return make
