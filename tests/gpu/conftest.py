"""What the tests on a CUDA device share.

``ITERDPO_REHEARSE_GPU=1 make test ARGS=tests/gpu`` goes through them on the CPU, as far as a CPU
can: memory is not measured there, and what needs CUDA is skipped.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from iterdpo.config.compose import conf_directory, typed
from iterdpo.config.schema import Config
from iterdpo.engines.transformers import TransformersEngine
from iterdpo.models.canary import CANARY_FILE, Canary
from iterdpo.records import Policy
from tests.checkpoints import STYLES, make_tokenizer
from tests.engines.test_vllm import policies, proven  # noqa: F401 (fixtures)
from tests.gpu.engines import DTYPE, VLLM_SHARE, transformers_engine
from tests.narrowing import present

_NOISE = 0.02
"""Nats by which two engines differ on a text of the lab in float16, at the most."""


@pytest.fixture(scope="session", autouse=True)
def device() -> Iterator[str]:
    """The device that everything here runs on."""
    import torch

    if torch.cuda.is_available():
        yield "cuda"
        return
    if not os.environ.get("ITERDPO_REHEARSE_GPU"):
        pytest.skip("needs a CUDA device, and torch.cuda.is_available() is false")
    with pytest.MonkeyPatch.context() as patch:
        # transformers trains bfloat16 on a GPU only, unless it is told otherwise.
        patch.setattr("transformers.training_args.is_torch_bf16_gpu_available", lambda: True)
        yield "cpu"


@pytest.fixture(scope="module")
def reference(device: str) -> Iterator[TransformersEngine]:
    """The engine that others are measured against."""
    engine = transformers_engine(device, DTYPE)
    yield engine
    engine.close()


@pytest.fixture
def m1(proven: Policy) -> Policy:
    """M1 with a canary that knows what half types round away, as one left by a training does."""
    file = Path(present(proven.adapter).path).parent / CANARY_FILE
    canary = dataclasses.replace(Canary.read(file), noise=_NOISE)
    file.write_text(json.dumps(dataclasses.asdict(canary)))
    return proven


@pytest.fixture
def configure(device: str, tmp_path: Path) -> Callable[..., Config]:
    """A function from overrides to a configuration that writes below ``tmp_path`` only."""

    def get(*overrides: str) -> Config:
        own = [
            f"store.root={tmp_path / 'store'}", "tracking=none", f"engine.device={device}",
            f"engine.vllm.memory_share={VLLM_SHARE}", "engine.vllm.eager=true",
            "engine.vllm.cache_gib=0.3",
        ]  # fmt: skip
        with initialize_config_dir(str(conf_directory()), version_base="1.3"):
            return typed(compose("config", overrides=[*own, *overrides]))

    return get


@pytest.fixture(scope="session")
def checkpoint_of_width(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """A function from the width of an attention head to a small random Llama with such heads."""
    made: dict[int, Path] = {}

    def get(width: int) -> Path:
        if width not in made:
            made[width] = _make_llama(tmp_path_factory.mktemp(f"heads{width}"), width)
        return made[width]

    return get


def _make_llama(directory: Path, width: int) -> Path:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    tokenizer = make_tokenizer(STYLES["llama"])
    config = AutoConfig.for_model(
        "llama",
        vocab_size=len(tokenizer),
        hidden_size=4 * width,
        intermediate_size=8 * width,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=width,
        max_position_embeddings=2048,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=None,
    )
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory
