"""A tiny base, an engine on its image, and answers of that engine to train on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from iterdpo.config.model import LoraConfig
from iterdpo.config.sft import SftConfig
from iterdpo.config.training import TrainingConfig
from iterdpo.engines.base import Engine, Sampling, TokenSequence
from iterdpo.engines.transformers import TransformersEngine, TransformersSettings
from iterdpo.models.chat_messages import Request
from iterdpo.models.checkpoint import save_dequantized
from iterdpo.records import Base, Policy
from iterdpo.store.tables import write_records
from iterdpo.training.canary import watched_texts
from iterdpo.training.checkpoints import identity_of
from iterdpo.training.spec import DpoSpec, OrpoSpec, PairExample, SftExample, SftSpec
from iterdpo.training.train import train
from tests.checkpoints import CheckpointOf
from tests.narrowing import answered

BaseOf = Callable[[str], Base]
AnswersOf = Callable[[Engine, Policy, int], list[PairExample]]
MakeSpec = Callable[..., DpoSpec]
MakeLessons = Callable[..., SftSpec]
Trained = Callable[[DpoSpec], Path]
Files = Callable[[Path], dict[str, bytes]]
Whole = Callable[[DpoSpec], dict[str, bytes]]

TRAINING = TrainingConfig(
    method="dpo",
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
    memory_gib=None,
    checkpoint_steps=None,
    max_length=None,
    process="inline",
    processes=None,
    step0_tolerance=1e-4,
)


@pytest.fixture(scope="session", autouse=True)
def loaded(libraries: None) -> None:
    """Every test here trains."""


@pytest.fixture(scope="session")
def base_of(checkpoint_of: CheckpointOf, tmp_path_factory: pytest.TempPathFactory) -> BaseOf:
    """A function from a quantization to a prepared base."""
    made: dict[str, Base] = {}

    def get(quantization: str) -> Base:
        if quantization not in made:
            checkpoint = str(checkpoint_of("llama"))
            base = Base(checkpoint, "0", quantization, "float32", checkpoint)
            if quantization != "none":
                image = tmp_path_factory.mktemp("dequantized")
                save_dequantized(base, image)
                base = dataclasses.replace(base, dequantized=str(image))
            made[quantization] = base
        return made[quantization]

    return get


@pytest.fixture
def engine() -> Iterator[TransformersEngine]:
    engine = TransformersEngine(TransformersSettings(device="cpu", batch_size=16))
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def answers_of() -> AnswersOf:
    """A function from an engine, a policy and a number to pairs of the policy's own answers."""
    written: dict[tuple[str, int], list[PairExample]] = {}

    def get(engine: Engine, policy: Policy, pairs: int) -> list[PairExample]:
        if (policy.fingerprint, pairs) not in written:
            requests = [Request.of(f"Name {n} animals.") for n in range(pairs)]
            done = answered(engine.generate(requests, policy, Sampling(n=2, max_tokens=8, seed=5)))
            written[policy.fingerprint, pairs] = [
                PairExample(a.prompt_token_ids, a.token_ids, b.token_ids, a.logprobs, b.logprobs)
                for a, b in zip(done[::2], done[1::2], strict=True)
            ]
        return written[policy.fingerprint, pairs]

    return get


@pytest.fixture
def make_spec(
    base_of: BaseOf, answers_of: AnswersOf, engine: TransformersEngine, tmp_path: Path
) -> MakeSpec:
    """A function that writes pairs of the policy's own answers and asks for a training on them."""

    def make(
        quantization: str = "none", policy: Policy | None = None, pairs: int = 6, **changes: Any
    ) -> DpoSpec:
        policy = policy or Policy("M0", base_of(quantization))
        path = tmp_path / "examples.parquet"
        write_records(path, PairExample, answers_of(engine, policy, pairs))
        spec_changes = {
            field.name: changes.pop(field.name)
            for field in dataclasses.fields(DpoSpec)
            if field.name in changes
        }
        spec = DpoSpec(
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


def odds_spec(spec: DpoSpec) -> OrpoSpec:
    """Return what asks for ORPO on the pairs of a DPO training."""
    training = dataclasses.replace(
        spec.training, method="orpo", loss=(), loss_weights=(), reference="none"
    )
    kept = {field.name: getattr(spec, field.name) for field in dataclasses.fields(OrpoSpec)}
    return OrpoSpec(**(kept | {"training": training}))


SFT = SftConfig(
    method="qlora",
    path=(),
    ranked=None,
    learning_rate=1e-2,
    schedule="constant",
    warmup=0.0,
    epochs=1,
    batch_size=4,
    micro_batch_size=4,
    max_grad_norm=1.0,
    weight_decay=0.0,
    optimizer="adamw_torch",
    gradient_checkpointing=False,
    memory_gib=None,
    checkpoint_steps=None,
    max_length=None,
    process="inline",
    processes=None,
    step0_tolerance=1e-4,
)


@pytest.fixture
def make_sft_spec(base_of: BaseOf, engine: TransformersEngine, tmp_path: Path) -> MakeLessons:
    """A function that writes examples of 2 to 6 tokens each and asks for a fine-tuning on them."""

    def make(quantization: str = "none", examples: int = 11, **changes: Any) -> SftSpec:
        base = base_of(quantization)
        taught = [
            SftExample((5, 9, 20 + n), (*range(30 + n, 31 + n + (3 * n) % 5), 2))
            for n in range(examples)
        ]
        path = tmp_path / "sft_examples.parquet"
        write_records(path, SftExample, taught)
        spec_changes = {
            field.name: changes.pop(field.name)
            for field in dataclasses.fields(SftSpec)
            if field.name in changes
        }
        watched = [TokenSequence(*text) for text in watched_texts(taught)]
        spec = SftSpec(
            base=base,
            lora=LoraConfig(rank=4, alpha=8, dropout=0.0, target_modules="all-linear"),
            training=dataclasses.replace(SFT, **changes),
            examples=str(path),
            seed=0,
            attention=None,
            trust_remote_code=False,
            engine_logprobs=tuple(engine.sequence_logprobs(watched, Policy("M0", base))),
        )
        return dataclasses.replace(spec, **spec_changes)

    return make


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A function from a spec to the directory that its training leaves when nothing stops it."""
    made: dict[str, Path] = {}

    def get(spec: DpoSpec) -> Path:
        key = identity_of(spec, "", "")["spec"]
        assert isinstance(key, str)
        if key not in made:
            made[key] = tmp_path_factory.mktemp("trained") / "out"
            train(dataclasses.replace(spec, checkpoints=None), made[key])
        return made[key]

    return get


@pytest.fixture(scope="session")
def whole(trained: Trained) -> Whole:
    """A function from a spec to the files that its training leaves when nothing stops it."""
    return lambda spec: files_in(trained(spec))


def files_in(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="session")
def files() -> Files:
    """The function from a directory to the bytes of every file in it."""
    return files_in
