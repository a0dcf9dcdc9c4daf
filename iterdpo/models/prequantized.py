"""Checkpoints that come quantized: what their ``config.json`` says, and who can use it.

Nothing here loads a model; ``packed_checkpoint.py`` does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

PREQUANTIZED = ("gptq", "awq")
"""The values of ``model.quantization`` for which the checkpoint must already be quantized so."""

_BITS = {"gptq": (4, 8), "awq": (4,)}
_LAYOUTS = {"gptq": ("gptq", "gptq_v2"), "awq": ("gemm",)}


@dataclass(frozen=True, slots=True)
class Packing:
    """How a checkpoint says that its linear layers are stored."""

    method: str
    """``gptq`` (arXiv 2210.17323), ``awq`` (arXiv 2306.00978), or one that is not read here."""
    layout: str
    """``gptq`` stores zero points less 1, ``gptq_v2`` as they are; ``gemm`` is AWQ's usual one."""
    bits: int
    group_size: int
    """Inputs that share a scale; -1 for all of them."""
    reordered: bool
    """GPTQ's ``desc_act``: inputs of one group do not lie side by side."""
    symmetric: bool
    """GPTQ's ``sym``: every zero point is in the middle of the range."""

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Packing | None:
        """Read it from a ``config.json``, as parsed; None for a checkpoint of plain weights."""
        said = config.get("quantization_config")
        if not isinstance(said, Mapping):
            return None
        method = str(said.get("quant_method", "")).lower()
        layout = said.get("checkpoint_format") or said.get("format") or said.get("version")
        bits, group = (said.get(key) for key in ("bits", "group_size"))
        return cls(
            method=method,
            layout=str(layout or ("gemm" if method == "awq" else "gptq")).lower(),
            bits=bits if isinstance(bits, int) else 0,
            group_size=group if isinstance(group, int) else 0,
            reordered=bool(said.get("desc_act", False)),
            symmetric=bool(said.get("sym", True)),
        )

    @classmethod
    def at(cls, checkpoint: Path) -> Packing | None:
        """Read it from the checkpoint in a directory, as ``of``; None also without a file."""
        path = checkpoint / "config.json"
        return cls.of(json.loads(path.read_text("utf-8"))) if path.is_file() else None

    @property
    def unreadable(self) -> str:
        """Why its layers cannot be unpacked here, in a few words; empty where they can."""
        if self.method not in PREQUANTIZED:
            return f"quant_method={self.method or 'null'} is not read here, gptq and awq are"
        if self.bits not in _BITS[self.method]:
            known = " and ".join(map(str, _BITS[self.method]))
            return f"bits={self.bits} is not read here, {self.method} of {known} bits is"
        if self.layout not in _LAYOUTS[self.method]:
            known = " and ".join(_LAYOUTS[self.method])
            return f"its layout {self.layout} is not read here, {known} of {self.method} is"
        if self.group_size < 1 and self.group_size != -1:
            return f"group_size={self.group_size}: a number of inputs, or -1"
        return ""

    @property
    def unserved(self) -> str:
        """Why vLLM does not serve it, in a few words; empty where it does."""
        if self.method == "gptq" and self.reordered and self.group_size != -1:
            return "desc_act=true"
        if self.method == "gptq" and not self.symmetric:
            return "sym=false"
        return ""


def quantization_of(checkpoint: Path) -> Literal["gptq", "awq", "none"]:
    """Return the ``model.quantization`` for a checkpoint that is only to be served."""
    packing = Packing.at(checkpoint)
    if packing is not None and packing.method == "gptq":
        return "gptq"
    return "awq" if packing is not None and packing.method == "awq" else "none"


def checkpoint_problem(quantization: str, packing: Packing | None, path: str) -> str:
    """Return what is wrong with ``model.quantization`` for a checkpoint; empty where nothing is.

    Args:
        quantization: ``nf4``, ``int8``, ``none``, ``gptq`` or ``awq``.
        packing: the checkpoint's; None where it is not quantized.
        path: ``model.path``, to name it.
    """
    if packing is None:
        if quantization not in PREQUANTIZED:
            return ""
        return (
            f"model.quantization={quantization}: {path} is not quantized (no quantization_config "
            f"in its config.json), and nothing here quantizes to {quantization}; set "
            f"model.quantization=nf4, or give a checkpoint that is {quantization.upper()} already"
        )
    if packing.unreadable:
        return (
            f"model.path={path}: a quantized checkpoint, and {packing.unreadable}; give its "
            "unquantized original with model.quantization=nf4"
        )
    if packing.method != quantization:
        return (
            f"model.quantization={quantization}: {path} is quantized already, by {packing.method}; "
            f"set model.quantization={packing.method}, or give its unquantized original"
        )
    return ""


def serving_problem(engine: str, dtype: str, packing: Packing | None) -> str:
    """Return why an engine cannot serve a checkpoint as it is; empty where it can.

    Args:
        engine: ``vllm`` or ``transformers``, which unpacks whatever is read here.
        dtype: ``model.dtype``, or what ``auto`` became.
        packing: the checkpoint's; None where it is not quantized.
    """
    if engine != "vllm" or packing is None:
        return ""
    if dtype == "float32":
        return (
            f"model.dtype=float32: vLLM serves {packing.method} in bfloat16 and float16 only; set "
            "one of these, or engine=transformers"
        )
    if packing.unserved:
        return (
            f"model.quantization={packing.method}: vLLM does not serve {packing.unserved} of this "
            "checkpoint; use engine=transformers, or a checkpoint without it"
        )
    return ""
