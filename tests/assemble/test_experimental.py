"""What no GPU has run is said once, when a run is put together."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from iterdpo.assemble import assemble
from iterdpo.assemble.hardware import experimental
from iterdpo.config.compose import conf_directory, typed
from iterdpo.config.schema import Config
from iterdpo.models.prequantized import PREQUANTIZED

PACKED = "packed weights was tried on CPUs alone (docs/decisions/0015)"
SHARED = "training in several processes was tried with two on a CPU, never on several GPUs"


def config_of(*overrides: str) -> Config:
    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        return typed(compose("config", [*overrides]))


@pytest.mark.parametrize("quantization", PREQUANTIZED)
def test_packed_bases_are_experimental(quantization: str) -> None:
    config = config_of("model=local", "model.path=Org/Name", f"model.quantization={quantization}")
    assert experimental(config) == [
        f"model.quantization={quantization}, experimental: training on {PACKED}"
    ]


@pytest.mark.parametrize(
    ("overrides", "settings"),
    [
        (["training.process=launch"], "training.process=launch"),
        (["sft=qlora", "sft.path=[FILE]", "sft.process=launch"], "sft.process=launch"),
        (
            ["training.process=launch", "sft=qlora", "sft.path=[FILE]", "sft.process=launch"],
            "training.process=launch and sft.process=launch",
        ),
    ],
)
def test_several_processes_are_experimental(overrides: list[str], settings: str) -> None:
    assert experimental(config_of(*overrides)) == [f"{settings}, experimental: {SHARED}"]


@pytest.mark.parametrize("overrides", [[], ["sft.process=launch"], ["training.process=spawn"]])
def test_what_is_not_used_is_not_mentioned(overrides: list[str]) -> None:
    assert experimental(config_of("model.quantization=nf4", *overrides)) == []


def test_a_run_says_so_in_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = config_of(
        "engine.device=cpu", "tracking=none", "training.process=launch", "training.processes=2",
        "training.micro_batch_size=1",
    )  # fmt: skip
    assemble(config, tmp_path)
    lines = [item.getMessage() for item in caplog.records if item.name.startswith("iterdpo.")]
    assert lines == [f"training.process=launch, experimental: {SHARED}"]
