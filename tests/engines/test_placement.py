"""Where an engine stays and how wide it writes, on cards and machines that are made up."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from iterdpo.assemble import make_engine
from iterdpo.assemble.memory import require_memory
from iterdpo.config.compose import conf_directory, typed
from iterdpo.config.schema import Config
from iterdpo.engines import placement
from iterdpo.engines.transformers import TransformersEngine
from iterdpo.engines.vllm import VllmEngine
from iterdpo.engines.vllm_process import VllmSettings
from iterdpo.models.memory import GIB
from tests.models.test_memory import LLAMA_3_8B, QWEN_7B

LLAMA = LLAMA_3_8B | {"model_type": "llama", "max_position_embeddings": 8192}
QWEN = QWEN_7B | {"model_type": "qwen2", "max_position_embeddings": 32768}
CARDS = {"24 GB": 22 * GIB, "80 GB": 791 * GIB // 10}
"""As torch shows them: an L4, an H100."""
MachineOf = Callable[..., None]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> MachineOf:
    """A function from a card and the CPU's free memory, in bytes, to a machine with both."""

    def have(card: int, host: int = 0) -> None:
        found = SimpleNamespace(total_memory=card)
        monkeypatch.setattr("torch.cuda.is_available", lambda: True)
        monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
        monkeypatch.setattr("torch.cuda.get_device_capability", lambda: (9, 0))
        monkeypatch.setattr("torch.cuda.get_device_properties", lambda _: found)
        monkeypatch.setattr("iterdpo.engines.local.vllm_installed", lambda: True)
        monkeypatch.setattr(placement, "free_host_memory", lambda: host)

    return have


@pytest.fixture
def own_model(tmp_path: Path) -> Callable[..., Config]:
    """A function from a checkpoint's config.json and overrides to the preset for one's own."""
    (tmp_path / "prompts.txt").write_text("Say hello.\n")

    def get(declared: dict[str, Any], *overrides: str) -> Config:
        (tmp_path / "config.json").write_text(json.dumps(declared))
        asked = ["experiment=own_model", f"model.path={tmp_path}",
                 f"prompts.path={tmp_path / 'prompts.txt'}", *overrides]  # fmt: skip
        with initialize_config_dir(str(conf_directory()), version_base="1.3"):
            return typed(compose("config", asked))

    return get


def settings(config: Config) -> VllmSettings:
    """Return what vLLM would be started with, after the check at the start of a run."""
    require_memory(config)
    engine = make_engine(config)
    assert isinstance(engine, VllmEngine)
    return engine.settings


@pytest.mark.parametrize(
    ("declared", "card", "host", "residency", "share", "sequences"),
    [
        # 0.9 x 22 - 14.96 - 0.08 - 3 = 1.76 GiB of cache; 683 tokens of 128 KiB an answer.
        (LLAMA, "24 GB", 64, "sleep", 0.9, 21),
        (LLAMA, "24 GB", 22, "restart", 0.9, 21),  # 15 for the weights and 8 are not there
        # 0.9 x 22 - 14.18 - 0.08 - 3 = 2.54 GiB; 683 tokens of 56 KiB.
        (QWEN, "24 GB", 64, "sleep", 0.9, 69),
        # 0.95 - 10.74 / 79.1 leave 0.81 of the card.
        (LLAMA, "80 GB", 64, "resident", 0.81, 256),
        (QWEN, "80 GB", 64, "resident", 0.81, 256),
    ],
)
def test_a_model_of_ones_own_runs_as_shipped(
    machine: MachineOf,
    own_model: Callable[..., Config],
    declared: dict[str, Any],
    card: str,
    host: int,
    residency: str,
    share: float,
    sequences: int,
) -> None:
    machine(CARDS[card], host * GIB)
    chosen = settings(own_model(declared))
    assert (chosen.residency, chosen.memory_share, chosen.max_sequences) == (
        residency, share, sequences,
    )  # fmt: skip


def test_what_is_asked_for_is_obeyed(machine: MachineOf, own_model: Callable[..., Config]) -> None:
    machine(CARDS["80 GB"], 64 * GIB)
    asked = own_model(LLAMA, "engine.vllm.max_sequences=7", "engine.residency=restart")
    assert (settings(asked).max_sequences, settings(asked).residency) == (7, "restart")
    # Training has its room beside an engine that is told to stay, however little is left to that.
    machine(CARDS["24 GB"], 64 * GIB)
    staying = settings(own_model(LLAMA, "engine.residency=resident"))
    assert staying.memory_share == 0.46  # 0.95 - 10.74 / 22


def test_an_engine_that_is_told_to_take_more_does_not_stay(
    machine: MachineOf, own_model: Callable[..., Config]
) -> None:
    machine(CARDS["80 GB"], 64 * GIB)
    chosen = settings(own_model(LLAMA, "engine.vllm.memory_share=0.85"))
    assert (chosen.memory_share, chosen.residency) == (0.85, "sleep")


def test_what_training_is_known_to_take_stands_for_the_estimate(
    machine: MachineOf, own_model: Callable[..., Config]
) -> None:
    machine(100 * GIB)
    assert settings(own_model(LLAMA, "training.memory_gib=25")).memory_share == 0.7


def test_the_larger_of_two_trainings_counts(
    machine: MachineOf, own_model: Callable[..., Config], tmp_path: Path
) -> None:
    machine(100 * GIB)
    (tmp_path / "examples.jsonl").write_text("{}\n")
    tuned = own_model(
        LLAMA, "sft=qlora", f"sft.path=[{tmp_path / 'examples.jsonl'}]", "sft.memory_gib=45"
    )
    assert settings(tuned).memory_share == 0.5


def test_an_engine_of_whole_checkpoints_starts_anew_for_each(
    machine: MachineOf, own_model: Callable[..., Config]
) -> None:
    machine(CARDS["80 GB"], 512 * GIB)
    whole = ("model.adapter=null", "model.quantization=none", "training.memory_gib=60")
    assert settings(own_model(LLAMA, *whole)).residency == "restart"


def test_transformers_sleeps_too(machine: MachineOf, own_model: Callable[..., Config]) -> None:
    machine(CARDS["24 GB"], 64 * GIB)
    engine = make_engine(own_model(LLAMA, "engine=transformers"))
    assert isinstance(engine, TransformersEngine)
    assert engine.settings.residency == "sleep"


def test_several_cards_hold_one_cache(machine: MachineOf, own_model: Callable[..., Config]) -> None:
    # 2 x (0.9 x 22 - 3) - 14.96 - 0.08 = 18.56 GiB, at 85.3 MiB an answer.
    machine(CARDS["24 GB"], 64 * GIB)
    assert settings(own_model(LLAMA, "engine.vllm.tensor_parallel=2")).max_sequences == 222


def test_an_unknown_model_is_written_with_the_most(
    machine: MachineOf, own_model: Callable[..., Config]
) -> None:
    machine(CARDS["24 GB"], 64 * GIB)
    chosen = settings(own_model(LLAMA | {"num_local_experts": 8}))
    assert (chosen.max_sequences, chosen.residency) == (256, "restart")


def test_a_cpus_cache_says_how_many_too(
    own_model: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("iterdpo.engines.local.vllm_installed", lambda: True)
    # 4 GiB at 28 x 2 x 512 x 4 bytes a token, 683 of them an answer.
    config = own_model(
        QWEN, "engine=vllm", "engine.device=cpu", "model.dtype=float32", "engine.vllm.cache_gib=4"
    )
    assert settings(config).max_sequences == 54
