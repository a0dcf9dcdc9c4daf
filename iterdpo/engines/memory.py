"""What an engine takes of a card beside a training, and what follows from it: an estimate.

In bytes, as ``models/memory.py``, whose sums these continue.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from iterdpo.models.memory import GIB, RESERVE_PERCENT, ModelShape, base_bytes
from iterdpo.runtime.formatting import memory_size

Residency = Literal["resident", "sleep", "restart"]

ENGINE_WORKSPACE = 3 * GIB
"""What an engine takes besides weights and cache. vLLM's own profile of Llama-3-8B shows 1.26 GiB
of activations at their peak and 1.79 GiB outside torch, its CUDA context among them
(github.com/vllm-project/vllm/pull/10511)."""

ALONE_SHARE = 0.9
"""Share of the card for an engine that has it to itself."""

HOST_RESERVE = 8 * GIB
"""Of the CPU's memory, what is left beside the weights of an engine that sleeps: for a training
process with its libraries, and the shard of a checkpoint that it reads."""

MOST_SEQUENCES = 256
"""Side by side. About here, from A100 to H200, a decoding step of 16-bit weights begins to wait for
its arithmetic and no longer for its weights: more answers at once come no faster."""

IN_FLIGHT = 3
"""The longest sequence over what one in flight holds: most end before their limit, and one that is
being written is half there. Where that is too few, vLLM lets some wait."""


def served_bytes(
    shape: ModelShape, dtype_bytes: int, quantization: str = "none", rank: int | None = None
) -> int:
    """Return what an engine takes before its cache: weights, one adapter, ``ENGINE_WORKSPACE``.

    Args:
        shape: of the base.
        dtype_bytes: of the served weights, the adapter and the cache.
        quantization: of the served weights: that of a packed checkpoint in vLLM, else ``none``.
        rank: of the adapters, of which one is loaded at a time; None where there are none.
    """
    adapter = shape.lora_parameters(rank) * dtype_bytes if rank is not None else 0
    return base_bytes(shape, quantization, dtype_bytes) + adapter + ENGINE_WORKSPACE


def cache_bytes(shape: ModelShape, dtype_bytes: int, tokens: int) -> int:
    """Return the bytes of keys and values of ``tokens`` in all layers."""
    return 2 * shape.layers * shape.key_width * dtype_bytes * tokens


def engine_bytes(
    shape: ModelShape,
    dtype_bytes: int,
    context: int,
    sequences: int,
    quantization: str = "none",
    rank: int | None = None,
) -> int:
    """Return the memory below which an engine is not worth keeping, in bytes.

    ``served_bytes``, and a key-value cache for one sequence of the whole context or for
    ``sequences`` of half of it, whichever is more. vLLM turns all that it is given into cache and
    lets answers wait where that is too small, so this is what is worth having, not a limit.

    Args:
        shape: of the base.
        dtype_bytes: as for ``served_bytes``.
        context: tokens of prompt and answer together.
        sequences: answers that are written side by side.
        quantization: as for ``served_bytes``.
        rank: likewise.
    """
    cache = cache_bytes(shape, dtype_bytes, max(context, sequences * context // 2))
    return served_bytes(shape, dtype_bytes, quantization, rank) + cache


def sequences_in(cache: int, shape: ModelShape, dtype_bytes: int, length: int) -> int:
    """Return how many answers to write side by side, 1 to ``MOST_SEQUENCES``.

    As many as fit into ``cache`` bytes of keys and values, each at ``length / IN_FLIGHT`` tokens.

    Args:
        cache: what is left to keys and values; below 0 where not even the weights fit.
        shape: of the model.
        dtype_bytes: of the cache.
        length: tokens of the longest prompt plus answer.
    """
    fitting = IN_FLIGHT * cache // cache_bytes(shape, dtype_bytes, length)
    return max(1, min(MOST_SEQUENCES, fitting))


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """What there is of memory and what its two tenants need, in bytes."""

    card: int
    engine: int
    trainer: int
    asleep: int = 0
    """What a sleeping engine keeps of the card."""
    weights: int = 0
    """What a sleeping engine takes of the CPU's memory."""
    host: int = 0
    """The CPU's memory that is free."""

    @property
    def fits(self) -> bool:
        """Whether both fit side by side and the reserve stays free."""
        return self._fit(self.engine + self.trainer)

    @property
    def can_sleep(self) -> bool:
        """Whether training fits beside a sleeping engine, whose weights fit the CPU's memory."""
        return self._fit(self.asleep + self.trainer) and self.weights + HOST_RESERVE <= self.host

    def describe(self, residency: Residency) -> str:
        """Return the sums and what follows from them, in one line."""
        return (
            f"engine {memory_size(self.engine)} + training {memory_size(self.trainer)} of "
            f"{memory_size(self.card)}: {residency}"
        )

    def _fit(self, needed: int) -> bool:
        return 100 * needed <= (100 - RESERVE_PERCENT) * self.card


def choose_residency(estimate: MemoryEstimate | None) -> Residency:
    """Return where the engine stays while training: beside it, else asleep, else it starts again.

    To wake takes seconds, a new start most of a minute. None stands for an unknown model: nothing
    says that it fits.
    """
    if estimate is None:
        return "restart"
    if estimate.fits:
        return "resident"
    return "sleep" if estimate.can_sleep else "restart"


def engine_share(estimate: MemoryEstimate | None, residency: Residency) -> float:
    """Return the share of the card that the engine may take: vLLM's ``gpu_memory_utilization``.

    Beside a resident trainer ``(card - trainer - reserve) / card``, rounded down to 0.01, and 0.01
    to 0.9: what is too little for the engine shows when it starts, not when training does. 0.9 for
    an engine that has the card to itself.
    """
    if estimate is None or residency != "resident":
        return ALONE_SHARE
    left = (100 - RESERVE_PERCENT) * estimate.card - 100 * estimate.trainer
    return max(0.01, min(ALONE_SHARE, left // estimate.card / 100))
