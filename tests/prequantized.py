"""Checkpoints in the formats of GPTQ and AWQ, packed number by number, and what they must mean.

Written from the formats' descriptions and with numpy alone, so that the package's own reader is
held against something that shares no line with it.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

AWQ_PLACES = (0, 4, 1, 5, 2, 6, 3, 7)
"""In which place of its word each of eight neighboring outputs lies."""


@dataclass(frozen=True)
class Format:
    """One way to pack."""

    method: str = "gptq"
    layout: str = "gptq"
    bits: int = 4
    group_size: int = 32
    reordered: bool = False
    symmetric: bool = True

    def config(self) -> dict[str, object]:
        """Return the ``quantization_config`` that goes with it."""
        common = {"quant_method": self.method, "bits": self.bits, "group_size": self.group_size}
        if self.method == "awq":
            return common | {"zero_point": True, "version": self.layout}
        return common | {
            "checkpoint_format": self.layout,
            "desc_act": self.reordered,
            "sym": self.symmetric,
        }


GPTQ = Format()
AWQ = Format("awq", "gemm", symmetric=False)
FORMATS = {
    "gptq": GPTQ,
    "gptq-8-bits": Format(bits=8),
    "gptq-v2": Format(layout="gptq_v2"),
    "gptq-one-group": Format(group_size=-1),
    "gptq-reordered": Format(reordered=True),
    "gptq-asymmetric": Format(symmetric=False),
    "awq": AWQ,
    "awq-one-group": Format("awq", "gemm", group_size=-1, symmetric=False),
}


def pack_layer(
    inputs: int, outputs: int, kind: Format, rng: np.random.Generator
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return the tensors of a random layer as a checkpoint has them, and its weights.

    Returns:
        The tensors by name, and ``(outputs, inputs)`` weights in float32, each computed alone.
    """
    size = kind.group_size if kind.group_size > 0 else inputs
    groups, most = -(-inputs // size), 2**kind.bits - 1
    order = rng.permutation(inputs) if kind.reordered else np.arange(inputs)
    group_of = (order // size).astype(np.int32)
    numbers = rng.integers(0, most + 1, (inputs, outputs))
    zeros = rng.integers(0, most + 1, (groups, outputs))
    if kind.symmetric:
        zeros[:] = (most + 1) // 2
    # Such that a weight is about as large as that of a model at its start.
    scales = (rng.uniform(0.5, 1.5, (groups, outputs)) * 0.08 / most).astype(np.float16)
    weights = np.empty((outputs, inputs), np.float32)
    for i in range(inputs):
        for o in range(outputs):
            g = group_of[i]
            weights[o, i] = np.float32(scales[g, o]) * np.float32(numbers[i, o] - zeros[g, o])
    if kind.method == "awq":
        tensors = {"qweight": _awq_words(numbers), "qzeros": _awq_words(zeros), "scales": scales}
        return tensors, weights
    stored = (zeros - 1) % (most + 1) if kind.layout == "gptq" else zeros
    tensors = {
        "qweight": _words(numbers.T, kind.bits).T.copy(),
        "qzeros": _words(stored, kind.bits),
        "scales": scales,
        "g_idx": group_of,
    }
    return tensors, weights


def _words(rows: np.ndarray, bits: int) -> np.ndarray:
    """Put neighbors of each row into words of 32 bits, the first in the lowest bits."""
    count = 32 // bits
    words = np.zeros((rows.shape[0], rows.shape[1] // count), np.uint32)
    for row in range(rows.shape[0]):
        for column in range(rows.shape[1]):
            shifted = int(rows[row, column]) << (bits * (column % count))
            words[row, column // count] |= np.uint32(shifted)
    return words.view(np.int32)


def _awq_words(rows: np.ndarray) -> np.ndarray:
    words = np.zeros((rows.shape[0], rows.shape[1] // 8), np.uint32)
    for row in range(rows.shape[0]):
        for column in range(rows.shape[1]):
            shifted = int(rows[row, column]) << (4 * AWQ_PLACES[column % 8])
            words[row, column // 8] |= np.uint32(shifted)
    return words.view(np.int32)


def make_packed(plain: Path, directory: Path, kind: Format = GPTQ, seed: int = 0) -> Path:
    """Write ``plain`` with random packed layers to ``directory/packed``, and what it must compute.

    Beside it, ``directory/unpacked`` is the same model of ordinary weights in float32.
    """
    from safetensors.numpy import load_file, save_file

    rng = np.random.default_rng(seed)
    tensors = load_file(plain / "model.safetensors")
    packed, unpacked = dict(tensors), dict(tensors)
    for name, weight in tensors.items():
        if name.endswith("_proj.weight"):
            layer = name.removesuffix(".weight")
            stored, unpacked[name] = pack_layer(weight.shape[1], weight.shape[0], kind, rng)
            del packed[name]
            packed |= {f"{layer}.{part}": array for part, array in stored.items()}
    for place, written in ((directory / "packed", packed), (directory / "unpacked", unpacked)):
        shutil.copytree(plain, place)
        save_file(written, place / "model.safetensors", metadata={"format": "pt"})
    declare(directory / "packed", kind.config())
    return directory / "packed"


def declare(checkpoint: Path, quantization: dict[str, object] | None) -> None:
    """Have the checkpoint's ``config.json`` say how it is quantized."""
    file = checkpoint / "config.json"
    values = json.loads(file.read_text())
    values["quantization_config"] = quantization
    file.write_text(json.dumps(values))
