"""GPUs that are there and not used, on made-up machines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from iterdpo.errors import UserError
from iterdpo.models import accelerators
from iterdpo.models.accelerators import (
    NvidiaCard,
    card_problem,
    device_problem,
    hidden,
    nvidia_card,
    require_device,
    require_supported,
    rocm_problem,
    unused_accelerator,
)

NvidiaSmi = Callable[[str, int], None]

CLOSED = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12 19:39:15 UTC 2024"
OPEN = (
    "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  560.35.03  Release Build  (root@x)\n"
    "GCC version:  gcc version 13.2.0 (Ubuntu 13.2.0-23ubuntu4)"
)
NO_DRIVER = "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver."


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NvidiaSmi:
    """A ``nvidia-smi`` that prints a text and ends with a status; before it is called, none."""
    place = tmp_path / "bin"
    place.mkdir()
    monkeypatch.setenv("PATH", str(place))

    def provide(said: str, status: int) -> None:
        (place / "nvidia-smi").write_text(f'#!/bin/sh\necho "{said}"\nexit {status}\n')
        (place / "nvidia-smi").chmod(0o755)

    return provide


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root" / "dev").mkdir(parents=True)
    return tmp_path / "root"


def load_driver(root: Path, version: str) -> None:
    (root / "proc/driver/nvidia").mkdir(parents=True)
    (root / "proc/driver/nvidia/version").write_text(f"{version}\n")


@pytest.fixture
def old_driver(nvidia_smi: NvidiaSmi, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with a card whose driver is too old for its torch."""
    nvidia_smi("535.183.01", 0)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch, "__version__", "2.13.0+cu130")


TOO_OLD = (
    "the NVIDIA driver 535.183.01 is too old: torch 2.13.0+cu130 is built for CUDA 13.0, which "
    "needs 580 or newer; update the driver, or install a torch that is built for an older CUDA"
)


def test_no_card_is_no_card(nvidia_smi: NvidiaSmi, root: Path) -> None:
    assert nvidia_card(root) is None
    nvidia_smi(NO_DRIVER, 9)
    assert nvidia_card(root) is None


def test_nvidia_smi_names_the_driver_once_a_card(nvidia_smi: NvidiaSmi, root: Path) -> None:
    nvidia_smi("535.183.01\n535.183.01", 0)
    assert nvidia_card(root) == NvidiaCard("535.183.01")


@pytest.mark.parametrize(("version", "driver"), [(CLOSED, "535.183.01"), (OPEN, "560.35.03")])
def test_the_kernel_names_the_driver_where_nvidia_smi_is_not_there(
    nvidia_smi: NvidiaSmi, root: Path, version: str, driver: str
) -> None:
    load_driver(root, version)
    assert nvidia_card(root) == NvidiaCard(driver)


def test_a_card_without_a_working_driver_is_a_card(nvidia_smi: NvidiaSmi, root: Path) -> None:
    nvidia_smi(NO_DRIVER, 9)
    (root / "dev/nvidia0").touch()
    assert nvidia_card(root) == NvidiaCard("", NO_DRIVER)


def test_a_toolkit_without_a_card_is_none(nvidia_smi: NvidiaSmi, root: Path) -> None:
    (root / "dev/nvidia-caps").mkdir()
    assert nvidia_card(root) is None


@pytest.mark.parametrize(
    ("card", "cuda", "said"),
    [
        (None, "13.0", ""),
        (None, None, ""),
        (NvidiaCard("535.183.01"), "13.0", "535.183.01 is too old: torch 2.13.0 is built for CUDA"),
        (NvidiaCard("579.99"), "13.0", "which needs 580 or newer; update the driver"),
        (NvidiaCard("515.65.01"), "12.8", "which needs 525 or newer; update the driver"),
        (NvidiaCard("580.65.06"), "13.0", "the NVIDIA driver 580.65.06 is there, but torch cannot"),
        (NvidiaCard("535.183.01"), "12.8", "the NVIDIA driver 535.183.01 is there, but torch cann"),
        (NvidiaCard("700.1"), "15.1", "built for CUDA 15.1; `python -c"),
        (NvidiaCard("", NO_DRIVER), "13.0", f"an NVIDIA driver is there (nvidia-smi: {NO_DRIVER})"),
        (NvidiaCard("580.65.06"), None, "2.13.0 is built without CUDA; install one with it: `PLAT"),
    ],
)
def test_why_torch_does_not_use_a_card(
    card: NvidiaCard | None, cuda: str | None, said: str
) -> None:
    problem = card_problem(card, "2.13.0", cuda)
    assert said in problem
    assert bool(problem) == bool(said)
    assert "\n" not in problem


@pytest.mark.usefixtures("old_driver")
def test_an_old_driver_is_said_in_a_line_that_names_what_is_needed() -> None:
    assert unused_accelerator("auto") == (
        f"the CPU is used: {TOO_OLD} (CUDA_VISIBLE_DEVICES= if the CPU is meant)"
    )


@pytest.mark.usefixtures("old_driver")
@pytest.mark.parametrize("devices", ["", " ", "-1", "NoDevFiles"])
def test_who_wants_the_cpu_is_told_nothing(devices: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert unused_accelerator("cpu") == ""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", devices)
    assert hidden({"CUDA_VISIBLE_DEVICES": devices})
    assert unused_accelerator("auto") == ""


@pytest.mark.usefixtures("old_driver")
def test_who_names_one_of_the_cards_does_not_want_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert not hidden({"CUDA_VISIBLE_DEVICES": "0,1"})
    assert not hidden({})
    assert TOO_OLD in unused_accelerator("auto")


@pytest.mark.usefixtures("old_driver")
def test_a_device_that_is_asked_for_is_refused_with_the_driver() -> None:
    with pytest.raises(UserError) as refused:
        require_device("judge.device", "cuda")
    assert str(refused.value).startswith("judge.device=cuda: no CUDA device is there; ")
    assert str(refused.value).endswith(f"; {TOO_OLD}")
    require_device("judge.device", "auto")


@pytest.mark.usefixtures("old_driver")
def test_where_cuda_works_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert unused_accelerator("auto") == ""


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("mps", "this Mac's GPU (MPS)"),
        ("xpu", "the Intel GPU (XPU)"),
        ("hpu", "the accelerator hpu"),
    ],
)
def test_another_maker_s_gpu_is_said_to_be_left_idle(
    kind: str, name: str, nvidia_smi: NvidiaSmi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(accelerators, "nvidia_card", lambda: None)
    monkeypatch.setattr(
        torch.accelerator, "current_accelerator", lambda check_available: torch.device(kind)
    )
    said = f"the CPU is used: {name} is not supported, NVIDIA's CUDA is"
    assert unused_accelerator("auto") == said
    assert unused_accelerator("cpu") == ""


def test_amd_s_gpu_is_refused_and_its_cpu_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "AMD GPUs are not supported (torch is built for ROCm 7.1); hide them to use the CPU"
    assert rocm_problem("7.1", True).startswith(said)
    assert rocm_problem("7.1", False) == ""
    assert rocm_problem(None, True) == ""
    monkeypatch.setattr(torch.version, "hip", "7.1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(UserError, match="HIP_VISIBLE_DEVICES=-1"):
        require_supported()


@pytest.mark.parametrize(
    ("device", "there"),
    [("auto", 0), ("cpu", 0), ("cuda", 1), ("cuda:0", 1), ("cuda:1", 2)],
)
def test_a_device_that_is_there(device: str, there: int) -> None:
    assert device_problem(device, "engine.device", there) == ""


@pytest.mark.parametrize(
    ("device", "there", "said"),
    [
        ("cuda", 0, "no CUDA device is there"),
        ("cuda:1", 1, "CUDA devices there are 1, cuda:0 on"),
        ("cuda:x", 1, "CUDA devices there are 1, cuda:0 on"),
        ("mps", 0, "no CUDA device is there"),
    ],
)
def test_a_device_that_is_not(device: str, there: int, said: str) -> None:
    found = device_problem(device, "judge.device", there)
    assert found.startswith(f"judge.device={device}: {said}; use auto or cpu")
