"""What does not fit the GPU is refused before anything is computed, with the settings that fit."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from iterdpo.assemble import assemble
from iterdpo.assemble.memory import require_memory
from iterdpo.config.schema import Config
from iterdpo.errors import UserError
from iterdpo.models.memory import GIB
from tests.engines.test_placement import CARDS, LLAMA, MachineOf, machine, own_model

__all__ = ["machine", "own_model"]

PLAIN = "training.gradient_checkpointing=false"


def refusal(config: Config) -> str:
    with pytest.raises(UserError) as raised:
        require_memory(config)
    return str(raised.value)


def test_a_training_that_does_not_fit_says_what_would(
    machine: MachineOf, own_model: Callable[..., Config]
) -> None:
    machine(CARDS["24 GB"])
    assert refusal(own_model(LLAMA, PLAIN)) == (
        "training: needs 58.7 GiB by the estimate, and the GPU has 22.0 GiB, of which 20.9 GiB can "
        "be used; set training.gradient_checkpointing=true (10.7 GiB) or training.max_length=512 "
        "(20.0 GiB); where you know better, training.memory_gib=N takes the estimate's place"
    )


@pytest.mark.parametrize(
    "name", ["training.max_length=512", "training.gradient_checkpointing=true"]
)
def test_what_it_says_is_enough(
    machine: MachineOf, own_model: Callable[..., Config], name: str
) -> None:
    machine(CARDS["24 GB"])
    require_memory(own_model(LLAMA, PLAIN, name))


def test_settings_that_are_not_enough_alone_are_put_together(
    machine: MachineOf, own_model: Callable[..., Config]
) -> None:
    machine(11 * GIB)
    config = own_model(LLAMA, PLAIN, "training.micro_batch_size=8")
    (found,) = re.findall(r"; set (.*?) \(", refusal(config))
    assert found == "training.gradient_checkpointing=true training.micro_batch_size=1"
    require_memory(own_model(LLAMA, *found.split()))
    machine(8 * GIB)
    (found,) = re.findall(r"; set (.*?) \(", refusal(config))
    assert found == (
        "training.gradient_checkpointing=true training.micro_batch_size=1 training.max_length=512"
    )
    require_memory(own_model(LLAMA, *found.split()))


def test_what_is_not_quantized_can_be(machine: MachineOf, own_model: Callable[..., Config]) -> None:
    machine(CARDS["24 GB"])
    said = refusal(own_model(LLAMA, "model.quantization=none", "training.micro_batch_size=4"))
    # 16.06 GB become 5.70.
    assert "batch_size=2 (20.4 GiB) or model.quantization=nf4 (14.4 GiB) or training.max_" in said


def test_a_micro_batch_divides_the_batch(
    machine: MachineOf, own_model: Callable[..., Config]
) -> None:
    machine(CARDS["24 GB"])
    batch = "training.batch_size=60", "training.micro_batch_size=20"
    assert "set training.micro_batch_size=6 (" in refusal(own_model(LLAMA, *batch))


def test_what_nothing_helps_is_said_so(
    machine: MachineOf, own_model: Callable[..., Config]
) -> None:
    machine(4 * GIB)
    assert "; take a smaller model or a larger GPU; where you" in refusal(own_model(LLAMA))


def test_fine_tuning_is_held_to_the_same(
    machine: MachineOf, own_model: Callable[..., Config], tmp_path: Path
) -> None:
    machine(CARDS["24 GB"])
    examples = tmp_path / "examples.jsonl"
    examples.write_text("{}\n")
    tuned = own_model(LLAMA, "sft=qlora", f"sft.path=[{examples}]")
    assert refusal(tuned).startswith("sft: needs ")
    assert "; set sft.gradient_checkpointing=true (10.6 GiB) or sft.m" in refusal(tuned)


def test_whoever_knows_better_says_so(machine: MachineOf, own_model: Callable[..., Config]) -> None:
    machine(CARDS["24 GB"])
    require_memory(own_model(LLAMA, PLAIN, "training.memory_gib=20"))
    assert refusal(own_model(LLAMA, "training.memory_gib=21.5")) == (
        "training.memory_gib=21.5: the GPU has 22.0 GiB, of which 20.9 GiB can be used; say less, "
        "or null for the estimate"
    )


def test_a_run_stops_before_it_reads_a_weight(
    machine: MachineOf, own_model: Callable[..., Config], tmp_path: Path
) -> None:
    import bitsandbytes  # noqa: F401  # it loads otherwise where a GPU is

    machine(CARDS["24 GB"])
    with pytest.raises(UserError, match=r"^training: needs 58\.7 GiB"):
        assemble(own_model(LLAMA, PLAIN), tmp_path / "run")  # there is nothing but a config.json


@pytest.mark.parametrize("declared", [LLAMA | {"num_local_experts": 8}, LLAMA])
def test_of_cpus_and_of_unknown_models_nothing_is_said(
    machine: MachineOf,
    own_model: Callable[..., Config],
    monkeypatch: pytest.MonkeyPatch,
    declared: dict[str, object],
) -> None:
    machine(GIB)
    if declared is LLAMA:
        monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    require_memory(own_model(declared))
