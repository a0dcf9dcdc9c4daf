"""Which engine ``engine=auto`` takes, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from iterdpo.errors import UserError
from iterdpo.models.hardware import GET_VLLM

EngineName = Literal["vllm", "transformers"]


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """An engine, and the reason in a few words."""

    name: EngineName
    why: str


def choose_engine(
    asked: Literal["auto", "vllm", "transformers"], *, vllm: bool, cuda: bool, dtype: str
) -> EngineChoice:
    """Resolve an engine's name, before any key is computed from it.

    Args:
        asked: what the configuration says.
        vllm: whether vLLM is installed.
        cuda: whether a CUDA device is there and to be used.
        dtype: ``model.dtype``.

    Raises:
        UserError: the engine cannot serve that type there.
    """
    single = cuda and dtype == "float32"
    if asked == "vllm" and single:
        raise UserError(
            "model.dtype=float32: on CUDA vLLM serves adapters in bfloat16 and float16 only; set "
            "one of these, or engine=transformers"
        )
    if asked != "auto":
        return EngineChoice(asked, f"engine.backend={asked}")
    if not cuda:
        return EngineChoice("transformers", "no CUDA device is used")
    if not vllm:
        return EngineChoice("transformers", f"vLLM is not installed; it comes with {GET_VLLM}")
    if single:
        return EngineChoice(
            "transformers", "on CUDA vLLM serves no adapters in model.dtype=float32"
        )
    return EngineChoice("vllm", "vLLM is installed and a CUDA device is there")
