"""What ``auto`` means, on tables of machines."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import pytest

from iterdpo.models.hardware import (
    Dtype,
    Hardware,
    choose_attention,
    choose_dtype,
    free_host_memory,
    launcher_problem,
    optimizer_problem,
)
from tests.checkpoints import CheckpointOf

Capability = tuple[int, int] | None

TURING, AMPERE, HOPPER = (7, 5), (8, 0), (9, 0)
KNOWN = frozenset({"adamw_torch", "sgd", "adamw_8bit", "paged_adamw_8bit", "paged_adamw_32bit"})


@pytest.mark.parametrize(
    ("asked", "capability", "expected"),
    [
        ("auto", None, "float32"),
        ("auto", (6, 1), "float16"),
        ("auto", TURING, "float16"),
        ("auto", AMPERE, "bfloat16"),
        ("auto", (8, 9), "bfloat16"),
        ("auto", HOPPER, "bfloat16"),
        ("auto", (12, 0), "bfloat16"),
        ("float32", HOPPER, "float32"),
        ("bfloat16", TURING, "bfloat16"),
        ("float16", None, "float16"),
    ],
)
def test_the_type_is_what_is_asked_or_what_the_device_computes_in(
    asked: Literal["auto"] | Dtype, capability: Capability, expected: str
) -> None:
    assert choose_dtype(asked, capability) == expected


@pytest.mark.parametrize(
    ("asked", "dtype", "capability", "flash", "expected"),
    [
        ("auto", "bfloat16", HOPPER, True, "flash_attention_2"),
        ("auto", "float16", AMPERE, True, "flash_attention_2"),
        ("auto", "bfloat16", HOPPER, False, "sdpa"),
        ("auto", "float32", HOPPER, True, "sdpa"),
        ("auto", "float16", TURING, True, "sdpa"),
        ("auto", "float32", None, True, "sdpa"),
        ("auto", "bfloat16", None, True, "sdpa"),
        ("eager", "bfloat16", HOPPER, True, "eager"),
        ("flash_attention_2", "bfloat16", HOPPER, False, "flash_attention_2"),
        (None, "bfloat16", HOPPER, True, None),
    ],
)
def test_flash_attention_wants_the_package_the_card_and_a_half_type(
    asked: str | None, dtype: Dtype, capability: Capability, flash: bool, expected: str | None
) -> None:
    hardware = Hardware(capability, flash, bitsandbytes=True)
    assert choose_attention(asked, dtype, hardware) == expected


@pytest.mark.parametrize(
    ("name", "capability", "bitsandbytes", "said"),
    [
        ("adamw_torch", None, False, None),
        ("sgd", HOPPER, True, None),
        ("adamw_8bit", None, True, None),
        ("paged_adamw_8bit", HOPPER, True, None),
        ("paged_adamw_32bit", AMPERE, True, None),
        ("paged_adamw_8bit", None, True, "no CUDA device is used; use adamw_torch"),
        ("paged_adamw_32bit", HOPPER, False, "bitsandbytes is not installed; use adamw_torch"),
        ("paged_adamw_32bit", None, False, "bitsandbytes is not installed and no CUDA device is"),
        ("adamw", HOPPER, True, "no optimizer of transformers; such as adamw_8bit, adamw_torch"),
        ("adam8", HOPPER, True, "no optimizer of transformers; such as adamw_8bit, adamw_torch"),
        ("muon", HOPPER, True, "no optimizer of transformers; such as adamw_torch, sgd"),
    ],
)
def test_an_optimizer_that_cannot_run_here_is_one_line(
    name: str, capability: Capability, bitsandbytes: bool, said: str | None
) -> None:
    hardware = Hardware(capability, flash_attention=False, bitsandbytes=bitsandbytes)
    problem = optimizer_problem(name, "sft.optimizer", KNOWN, hardware)
    if said is None:
        assert problem == ""
    else:
        assert problem.startswith(f"sft.optimizer={name}: ")
        assert said in problem
        assert "\n" not in problem


@pytest.mark.parametrize(
    ("environment", "refused"),
    [
        ({}, False),
        ({"WORLD_SIZE": "1", "LOCAL_RANK": "0"}, False),
        ({"WORLD_SIZE": "2", "LOCAL_RANK": "1"}, True),
        ({"WORLD_SIZE": "16"}, True),
        ({"WORLD_SIZE": ""}, False),
    ],
)
def test_a_launcher_of_several_processes_is_refused(
    environment: dict[str, str], refused: bool
) -> None:
    problem = launcher_problem(environment)
    assert bool(problem) == refused
    if refused:
        assert problem.startswith(f"WORLD_SIZE={environment['WORLD_SIZE']}: ")
        assert "start it as `python -m iterdpo`" in problem


@pytest.mark.parametrize("load", ["base", "served", "plain"])
def test_every_way_to_load_a_model_switches_cudnn_attention_off(
    load: str, checkpoint_of: CheckpointOf
) -> None:
    import torch

    from iterdpo.models.checkpoint import load_base
    from iterdpo.models.loading import load_plain, load_served_model
    from iterdpo.records import Base

    place, device = str(checkpoint_of("llama")), torch.device("cpu")
    torch.backends.cuda.enable_cudnn_sdp(True)
    if load == "base":
        load_base(Base(place, "0", "none", "float32", place))
    elif load == "served":
        load_served_model(place, dtype="float32", device=device, attention=None)
    else:
        load_plain(place, "float32", "cpu")
    enabled: Any = torch.backends.cuda.cudnn_sdp_enabled
    assert not enabled()


def test_a_containers_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=500))
    assert free_host_memory(tmp_path / "none") == 500
    (tmp_path / "memory.current").write_text("300\n")
    (tmp_path / "memory.stat").write_text("anon 200\nfile 100\ninactive_file 80\n")
    for limit, free in (("max", 500), ("400", 180), ("900", 500)):
        (tmp_path / "memory.max").write_text(f"{limit}\n")
        assert free_host_memory(tmp_path) == free
