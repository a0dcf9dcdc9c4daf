"""What a setting ``auto`` means on the machine at hand, and what that machine cannot do.

Pure functions over what a machine has; ``assemble`` looks it up once for a run.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Dtype = Literal["float32", "bfloat16", "float16"]

_AMPERE = (8, 0)
"""The first CUDA capability that computes in bfloat16 and that FlashAttention 2 runs on."""

# bitsandbytes pages an optimizer's state between the GPU's and the CPU's memory. On a CPU it has a
# plain optimizer do the work, with no more than a warning.
_PAGED = "paged_"


@dataclass(frozen=True, slots=True)
class Hardware:
    """What training and engines can use."""

    capability: tuple[int, int] | None
    """Of the CUDA device that is used, such as (9, 0); None on a CPU."""
    flash_attention: bool
    """Whether the package ``flash_attn`` is installed."""
    bitsandbytes: bool


def choose_dtype(asked: Literal["auto"] | Dtype, capability: tuple[int, int] | None) -> Dtype:
    """Return the type to compute in: what is asked, or the best that the device computes in.

    Args:
        asked: ``model.dtype``.
        capability: of the CUDA device; None for a CPU, whose kernels are made for float32.
    """
    if asked != "auto":
        return asked
    if capability is None:
        return "float32"
    return "bfloat16" if capability >= _AMPERE else "float16"


def choose_attention(asked: str | None, dtype: Dtype, hardware: Hardware) -> str | None:
    """Return the attention to compute with; FlashAttention knows half types alone.

    Args:
        asked: ``model.attention``; None leaves the choice to transformers.
        dtype: resolved.
        hardware: what there is.
    """
    if asked != "auto":
        return asked
    capability = hardware.capability
    fits = capability is not None and capability >= _AMPERE and dtype != "float32"
    return "flash_attention_2" if fits and hardware.flash_attention else "sdpa"


def optimizer_problem(name: str, setting: str, known: frozenset[str], hardware: Hardware) -> str:
    """Return what is wrong with an optimizer on this machine, in one line; empty where nothing is.

    Args:
        name: what is asked.
        setting: that asks it, such as ``training.optimizer``.
        known: the names that transformers knows.
        hardware: what there is.
    """
    if name not in known:
        near = ", ".join(sorted(other for other in known if other.startswith(name[:4])))
        names = near or "adamw_torch, sgd, adafactor, paged_adamw_8bit, ..."
        return f"{setting}={name}: no optimizer of transformers; such as {names}"
    if not name.startswith(_PAGED):
        return ""
    missing = [
        what
        for what, there in (
            ("bitsandbytes is not installed", hardware.bitsandbytes),
            ("no CUDA device is used", hardware.capability is not None),
        )
        if not there
    ]
    if not missing:
        return ""
    return f"{setting}={name}: {' and '.join(missing)}; use adamw_torch"


def launcher_problem(environment: Mapping[str, str]) -> str:
    """Return what is wrong with how the program was started, in one line; empty where nothing is.

    ``accelerate launch`` and ``torchrun`` start a program once a GPU and set ``WORLD_SIZE``. Each
    copy would then write, judge and train by itself over one store.
    """
    size = environment.get("WORLD_SIZE", "1")
    if not size.isdigit() or int(size) < 2:
        return ""
    return (
        f"WORLD_SIZE={size}: started by a launcher of several processes, but one process runs the "
        "loop; start it as `python -m iterdpo`, and give several GPUs to training "
        "(training.process=launch), to vLLM (engine.tensor_parallel) or to the jobs of a sweep "
        "(CUDA_VISIBLE_DEVICES)"
    )


def free_host_memory(container: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the bytes of the CPU's memory that can still be taken, a container's limit counted.

    Args:
        container: where Linux shows the limit of the control group that this process is in.
    """
    import psutil

    free = int(psutil.virtual_memory().available)
    try:
        limit, used = (
            int((container / name).read_text("ascii")) for name in ("memory.max", "memory.current")
        )
        kinds = (container / "memory.stat").read_text("ascii").split()
        files = int(kinds[kinds.index("inactive_file") + 1])  # given back when memory runs short
    except (OSError, ValueError):  # no group, or no limit: "max"
        return free
    return min(free, limit - used + files)


def switch_cudnn_attention_off() -> None:
    """Keep this process from cuDNN's attention, of which a gradient can be NaN.

    With an explicit mask it is so on Hopper at some widths (pytorch#196678, trl#7181). vLLM
    switches it off as well, but in its own process.
    """
    import torch

    torch.backends.cuda.enable_cudnn_sdp(False)


def installed(package: str) -> bool:
    """Say whether a package is there, without loading it."""
    return importlib.util.find_spec(package) is not None


GET_VLLM = "`make install` in a checkout, or `pip install 'iterdpo[vllm]'` beside CUDA"


def vllm_installed() -> bool:
    """Say whether vLLM is there, without loading it."""
    return importlib.util.find_spec("vllm") is not None
