"""A GPU that a user sees and a run would not use: which, why, and what to do about it.

CUDA through torch is what everything here is made for. torch says nothing where a driver is too old
for it, and a run would take a hundred times as long on the CPU.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from iterdpo.errors import UserError

FIRST_DRIVER: Final = MappingProxyType({11: 450, 12: 525, 13: 580})
"""The first branch of drivers that runs programs built for a CUDA of that major version (CUDA
Compatibility, "CUDA Minor Version Compatibility")."""

_SMI_SECONDS = 20.0
_OTHERS: Final = MappingProxyType({"mps": "this Mac's GPU (MPS)", "xpu": "the Intel GPU (XPU)"})


@dataclass(frozen=True, slots=True)
class NvidiaCard:
    """What the machine itself shows of a card."""

    driver: str
    """Its version, such as 535.183.01; empty where nothing tells it."""
    complaint: str = ""
    """What ``nvidia-smi`` says in the place of a list of cards."""


def nvidia_card(root: Path = Path("/")) -> NvidiaCard | None:
    """Return the card that ``nvidia-smi`` or the kernel shows; None where there is none.

    Args:
        root: the directory that holds ``dev`` and ``proc``.
    """
    driver, complaint = _asked_nvidia_smi()
    driver = driver or _loaded_driver(root)
    if driver or any(root.glob("dev/nvidia[0-9]*")):
        return NvidiaCard(driver, complaint)
    return None


def card_problem(card: NvidiaCard | None, torch_version: str, torch_cuda: str | None) -> str:
    """Return why torch does not use a card that is there, in one line; empty where none is.

    Args:
        card: what the machine shows.
        torch_version: as torch spells it, such as 2.13.0+cu130.
        torch_cuda: the version of CUDA that it is built for; None for a torch without CUDA.
    """
    if card is None:
        return ""
    if torch_cuda is None:
        return (
            f"an NVIDIA GPU is there, and torch {torch_version} is built without CUDA; install one "
            "with it: `PLATFORM=cuda make install` in a checkout, else see pytorch.org"
        )
    needed = FIRST_DRIVER.get(int(torch_cuda.partition(".")[0]), 0)
    built = f"torch {torch_version} is built for CUDA {torch_cuda}"
    wants = f"{built}, which needs {needed} or newer" if needed else built
    if card.driver and int(card.driver.partition(".")[0]) < needed:
        return (
            f"the NVIDIA driver {card.driver} is too old: {wants}; update the driver, or install a "
            "torch that is built for an older CUDA"
        )
    driver = f"the NVIDIA driver {card.driver}" if card.driver else "an NVIDIA driver"
    says = f" (nvidia-smi: {card.complaint})" if card.complaint else ""
    return (
        f"{driver} is there{says}, but torch cannot use it: {wants}; "
        "`python -c 'import torch; torch.cuda.init()'` says why"
    )


def hidden(environment: Mapping[str, str]) -> bool:
    """Say whether a user keeps CUDA's devices from this program, to have it run on the CPU."""
    return environment.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1", "NoDevFiles")


def why_no_cuda() -> str:
    """Return why torch does not use an NVIDIA card that is there; empty where nothing is odd."""
    import torch

    if torch.cuda.is_available() or hidden(os.environ):
        return ""
    return card_problem(nvidia_card(), torch.__version__, torch.version.cuda)


def unused_accelerator(device: str) -> str:
    """Return which GPU a run will leave idle, and why, in one line; empty where there is none.

    Args:
        device: ``engine.device``; whoever asks for the CPU is told nothing.
    """
    import torch

    if device == "cpu" or torch.cuda.is_available():
        return ""
    if problem := why_no_cuda():
        return f"the CPU is used: {problem} (CUDA_VISIBLE_DEVICES= if the CPU is meant)"
    other = torch.accelerator.current_accelerator(check_available=True)
    if other is None:
        return ""
    name = _OTHERS.get(other.type, f"the accelerator {other.type}")
    return f"the CPU is used: {name} is not supported, NVIDIA's CUDA is"


def rocm_problem(hip: str | None, there: bool) -> str:
    """Return why this torch cannot be worked with, in one line; empty where it can.

    torch shows AMD's cards as CUDA devices, so all that is made for CUDA would run on them.

    Args:
        hip: the version of ROCm that torch is built for, if it is.
        there: whether torch has a device.
    """
    if hip is None or not there:
        return ""
    return (
        f"AMD GPUs are not supported (torch is built for ROCm {hip}); hide them to use the CPU "
        "(HIP_VISIBLE_DEVICES=-1), or use an NVIDIA GPU with a torch for CUDA"
    )


def require_supported() -> None:
    """Raise ``UserError`` where torch would compute on a GPU that nothing here is made for."""
    import torch

    if problem := rocm_problem(torch.version.hip, torch.cuda.is_available()):
        raise UserError(problem)


def require_device(setting: str, device: str) -> None:
    """Raise ``UserError`` when the device that ``setting`` names is not there."""
    import torch

    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if problem := device_problem(device, setting, there):
        raise UserError("; ".join(filter(None, (problem, why_no_cuda()))))


def device_problem(device: str, setting: str, there: int) -> str:
    """Return why a device cannot be used, in one line; empty where it can.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        setting: that names it, such as ``engine.device``.
        there: how many CUDA devices torch can use.
    """
    name, _, number = device.partition(":")
    number = number or "0"
    if device in ("auto", "cpu") or (name == "cuda" and number.isdigit() and int(number) < there):
        return ""
    found = f"CUDA devices there are {there}, cuda:0 on" if there else "no CUDA device is there"
    return f"{setting}={device}: {found}; use auto or cpu, or a PyTorch and a driver that see it"


def _asked_nvidia_smi() -> tuple[str, str]:
    """Return the driver's version where ``nvidia-smi`` lists a card, else what it says instead."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return "", ""
    query = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(
            query, capture_output=True, text=True, errors="replace", timeout=_SMI_SECONDS,
            check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return "", f"{type(error).__name__}"
    first = next(iter((done.stdout.strip() or done.stderr.strip()).splitlines()), "").strip()
    if done.returncode == 0 and re.fullmatch(r"\d+(\.\d+)+", first):
        return first, ""
    return "", first[:200]


def _loaded_driver(root: Path) -> str:
    """Return the version of the kernel's driver, if it has one."""
    try:
        text = (root / "proc/driver/nvidia/version").read_text("utf-8", "replace")
    except OSError:
        return ""
    found = re.search(r"^NVRM.*?\s(\d+(?:\.\d+)+)\s", text, re.MULTILINE)
    return found.group(1) if found else ""
