"""What a card allows at most: bounds from its published peaks and a model's shape.

A stage can be no faster than its arithmetic at the card's peak, and no faster than its bytes at
the memory's peak; whichever takes longer is the bound (Williams, Waterman and Patterson, Roofline,
Communications of the ACM 52(4), 2009). Everything here is pure; times are seconds, sizes are bytes,
and a multiplication with its addition counts as 2 floating-point operations (FLOPs).

What is left out (softmax, norms, rotations, reading the activations) makes every bound a little
too fast, never too slow.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from iterdpo.models.memory import ModelShape

TERA = 10**12
GIGA = 10**9


@dataclass(frozen=True, slots=True)
class Card:
    """A GPU as its vendor describes it."""

    bytes_per_second: float
    """Bandwidth of its memory."""
    flops_per_second: float
    """Dense bfloat16 on the tensor cores, accumulated in float32. Where a datasheet quotes it with
    sparsity, half of that."""
    source: str


_H200 = "NVIDIA H200 Tensor Core GPU datasheet"
_H100 = "NVIDIA H100 Tensor Core GPU datasheet"
_A100 = "NVIDIA A100 Tensor Core GPU datasheet"
CARDS = {
    "NVIDIA H200": Card(4.8 * TERA, 989.5 * TERA, f"{_H200}, SXM"),
    "NVIDIA H200 NVL": Card(4.8 * TERA, 835.5 * TERA, f"{_H200}, NVL"),
    "NVIDIA H100 80GB HBM3": Card(3.35 * TERA, 989.5 * TERA, f"{_H100}, SXM"),
    "NVIDIA H100 PCIe": Card(2.0 * TERA, 756.5 * TERA, f"{_H100}, PCIe"),
    "NVIDIA A100-SXM4-80GB": Card(2039 * GIGA, 312 * TERA, f"{_A100}, 80 GB SXM"),
    "NVIDIA A100 80GB PCIe": Card(1935 * GIGA, 312 * TERA, f"{_A100}, 80 GB PCIe"),
    "NVIDIA A100-SXM4-40GB": Card(1555 * GIGA, 312 * TERA, f"{_A100}, 40 GB SXM"),
    "NVIDIA A100-PCIE-40GB": Card(1555 * GIGA, 312 * TERA, f"{_A100}, 40 GB PCIe"),
    "NVIDIA L40S": Card(864 * GIGA, 362.05 * TERA, "NVIDIA L40S datasheet"),
    "NVIDIA GeForce RTX 4090": Card(
        1008 * GIGA, 165.2 * TERA, "NVIDIA Ada GPU Architecture whitepaper, appendix A"
    ),
    "NVIDIA GeForce RTX 3090": Card(
        936 * GIGA, 71 * TERA, "NVIDIA Ampere GA102 GPU Architecture whitepaper, appendix A"
    ),
}
"""By the name that the driver gives, as ``torch.cuda.get_device_name`` returns it. Exact names: a
laptop's or an export version of a card has the same words in its name and other peaks."""


@dataclass(frozen=True, slots=True)
class Writing:
    """Answers that are written, or prompts that are only read (``written`` 1)."""

    rows: int
    """Answers in all."""
    width: int
    """Most answers side by side."""
    prompt: float
    """Tokens of a prompt."""
    written: float
    """Tokens of an answer. The first comes out of reading the prompt, without a step of its own."""
    read: float
    """Tokens of prompts that were computed, in all. A prefix cache makes them fewer than
    ``rows * prompt``."""

    def __post_init__(self) -> None:
        if not (self.rows > 0 and self.width > 0 and self.prompt > 0 and self.written >= 1):
            raise ValueError(f"nothing is written: {self}")


def head_parameters(shape: ModelShape) -> int:
    """Return the parameters of the output layer."""
    return shape.vocab * shape.hidden


def streamed_bytes(shape: ModelShape, dtype_bytes: int) -> int:
    """Return the weights that every step reads, in bytes.

    All but the embedding, of which a step reads a row a token; where the output layer is the
    embedding, it is read as that.
    """
    looked_up = 0 if shape.tied else head_parameters(shape)
    return (shape.parameters - looked_up) * dtype_bytes


def cache_bytes(shape: ModelShape, dtype_bytes: int) -> int:
    """Return the keys and values of one token in all layers, in bytes."""
    return 2 * shape.layers * shape.key_width * dtype_bytes


def attention_flops(shape: ModelShape, computed: float, context: float) -> float:
    """Return the FLOPs of a sequence's attention in all layers.

    A token that sees t tokens costs ``2 t query_width`` for its scores and as much for their
    weighted sum (PaLM, arXiv 2204.02311, appendix B, with the causal half counted once).

    Args:
        shape: of the model.
        computed: the last tokens of the sequence, for which it is done.
        context: tokens of the whole sequence.
    """
    seen = computed * context - computed * (computed - 1) / 2
    return 4 * shape.layers * shape.query_width * seen


def forward_flops(shape: ModelShape, computed: float, context: float, predicted: float) -> float:
    """Return the FLOPs of a sequence's forward pass: 2 a parameter and token, plus attention.

    2 N a token is the forward third of 6 N (Kaplan et al., arXiv 2001.08361, section 2.1).

    Args:
        shape: of the model.
        computed: tokens that go through the layers.
        context: tokens of the whole sequence, those in the cache included.
        predicted: positions at which the output layer is computed.
    """
    layers = 2 * shape.linear_parameters * computed
    head = 2 * head_parameters(shape) * predicted
    return layers + head + attention_flops(shape, computed, context)


def step_seconds(
    shape: ModelShape, card: Card, dtype_bytes: int, sequences: float, context: float
) -> float:
    """Return the shortest time in which each of ``sequences`` can write one token.

    All weights are read once and each sequence's cache once, ``weights + sequences * context *
    cache``: with few sequences this is what decoding waits for (Pope et al., Efficiently Scaling
    Transformer Inference, arXiv 2211.05102, section 2.1).

    Args:
        shape: of the model.
        card: that it runs on.
        dtype_bytes: of weights and cache.
        sequences: side by side.
        context: tokens that each new token sees, itself included.
    """
    cached = sequences * context * cache_bytes(shape, dtype_bytes)
    moved = (streamed_bytes(shape, dtype_bytes) + cached) / card.bytes_per_second
    computed = sequences * forward_flops(shape, 1, context, 1) / card.flops_per_second
    return max(moved, computed)


def reading_seconds(shape: ModelShape, card: Card, dtype_bytes: int, work: Writing) -> float:
    """Return the shortest time in which the prompts can be read and their next tokens known."""
    waves = ceil(work.rows / work.width)
    each = work.read / work.rows
    flops = work.rows * forward_flops(shape, each, work.prompt, 1)
    moved = waves * streamed_bytes(shape, dtype_bytes)
    return max(flops / card.flops_per_second, moved / card.bytes_per_second)


def writing_seconds(shape: ModelShape, card: Card, dtype_bytes: int, work: Writing) -> float:
    """Return the shortest time in which the answers can be written, their prompts read first.

    They are written in waves of ``work.width`` side by side, the last one narrower, each as long as
    ``work.written`` says.
    """
    full, rest = divmod(work.rows, work.width)
    waves = [(work.width, full), (rest, 1)] if rest else [(work.width, full)]
    steps = round(work.written) - 1
    seconds = reading_seconds(shape, card, dtype_bytes, work)
    for width, times in waves:
        for step in range(1, steps + 1):
            seconds += times * step_seconds(shape, card, dtype_bytes, width, work.prompt + step)
    return seconds


def training_flops(
    shape: ModelShape,
    prompt: float,
    answer: float,
    rank: int | None,
    *,
    checkpointing: bool = False,
) -> float:
    """Return the FLOPs of DPO on one sequence: the policy forward and back, the reference forward.

    Through a parameter, a token costs 2 forward, 2 for the gradient of what goes in, and 2 for the
    gradient of the weight: 6 for full training. A frozen weight has no gradient, so an adapter is
    trained at 4, plus 6 for each of its own few parameters. The reference adds its 2. Attention has
    no weights: 2 shares forward, 4 back. The output layer predicts the answer alone.

    Args:
        shape: of the model.
        prompt: tokens.
        answer: tokens.
        rank: of the adapter on all linear layers; None where all weights are trained.
        checkpointing: the layers' forward pass is computed a second time for the backward one.
    """
    tokens = prompt + answer
    layers, head = shape.linear_parameters * tokens, head_parameters(shape) * answer
    attention = attention_flops(shape, tokens, tokens)
    adapter = 0 if rank is None else shape.lora_parameters(rank) * tokens
    back = (4 if rank is None else 2) * (layers + head) + 2 * attention + 4 * adapter
    forward = 2 * (layers + head) + attention + 2 * adapter
    again = forward - 2 * head if checkpointing else 0
    return 2 * forward + back + again


def training_seconds(
    shape: ModelShape,
    card: Card,
    sequences: int,
    prompt: float,
    answer: float,
    rank: int | None,
    *,
    checkpointing: bool = False,
) -> float:
    """Return the shortest time in which DPO can go over ``sequences`` answers, two a pair."""
    flops = training_flops(shape, prompt, answer, rank, checkpointing=checkpointing)
    return sequences * flops / card.flops_per_second
