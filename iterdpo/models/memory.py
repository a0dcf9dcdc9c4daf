"""What a model's weights and a training take of a card's memory: an estimate.

Sums of what is known beforehand, from the shape of the model and the settings; nothing is loaded
or measured. All sizes are bytes, shown in GiB (2**30 bytes). What the sums leave out
(fragmentation, kernels' scratch space) is what the reserve of a card is for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from iterdpo.models.token_logprobs import SLICE_BYTES

GIB = 2**30

CUDA_CONTEXT = 6 * GIB // 10
"""What a process holds on a GPU before its first tensor: an allowance of 0.6 GiB."""

RESERVE_PERCENT = 5
"""Share of a card that an estimate leaves free, in percent."""

TrainingMethod = Literal["dpo", "orpo", "sft"]

# Bits a quantized parameter takes with its constants. NF4 keeps one 32-bit constant for a block of
# 64; double quantization makes it 8 bits, and one 32-bit constant for 256 of these: 0.5 and 0.127
# bits a parameter (QLoRA, arXiv 2305.14314, section 3). int8's one constant a row is left out. GPTQ
# and AWQ usually have a 16-bit scale and a 4-bit zero point for a block of 128.
_BITS = {"nf4": 4 + 32 / 64, "nf4-double": 4 + 8 / 64 + 32 / (64 * 256), "int8": 8.0,
         "gptq": 4 + 20 / 128, "awq": 4 + 20 / 128}  # fmt: skip

# Logits that TRL's fused LM head holds at once: a tile of tokens by vocabulary
# (trl/kernels/chunked_logprob.py, trl/trainer/utils.py).
_TILE_TOKENS, _TILE_VOCAB = 4096, 32768

# Architectures whose layers are not those counted here say so by one of these keys: experts,
# compressed attention, recurrent layers.
_OTHER_LAYERS = (
    "num_experts", "num_local_experts", "n_routed_experts", "kv_lora_rank",
    "linear_num_key_heads", "mamba_d_state",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ModelShape:
    """The sizes of a decoder with grouped-query attention and a gated MLP.

    Counted are its linear layers, embeddings and two norms a layer. Biases (Qwen2) and further
    norms (Gemma 2, Qwen3) are not: under 0.1 % of the 0.5 to 9 billion parameters of these models.
    """

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int
    tied: bool
    """Whether the output layer is the embedding."""

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> ModelShape | None:
        """Read the shape from a checkpoint's ``config.json``, as parsed.

        Understood are Llama, Mistral, Qwen 2 and 3, Gemma and whoever shares their keys, at the
        top or under ``text_config``.

        Returns:
            The shape, or None where a size is missing or the layers are of another kind.
        """
        nested = config.get("text_config")
        text = nested if isinstance(nested, Mapping) else config
        if any(text.get(key) for key in _OTHER_LAYERS):
            return None
        hidden, layers, heads = (
            _size(text, key) for key in ("hidden_size", "num_hidden_layers", "num_attention_heads")
        )
        intermediate, vocab = (_size(text, key) for key in ("intermediate_size", "vocab_size"))
        if not (hidden and layers and heads and intermediate and vocab):
            return None
        # A file that does not say so is from before every family wrote it: the default was true.
        tied = text.get("tie_word_embeddings", config.get("tie_word_embeddings"))
        return cls(
            hidden=hidden,
            layers=layers,
            heads=heads,
            kv_heads=_size(text, "num_key_value_heads") or heads,
            head_dim=_size(text, "head_dim") or hidden // heads,
            intermediate=intermediate,
            vocab=vocab,
            tied=tied is not False,
        )

    @classmethod
    def at(cls, checkpoint: Path) -> ModelShape | None:
        """Read the shape of the checkpoint in a directory, as ``of``; None also without a file."""
        path = checkpoint / "config.json"
        return cls.of(json.loads(path.read_text("utf-8"))) if path.is_file() else None

    @property
    def parameters(self) -> int:
        """All parameters: embedding, output layer unless tied, linear layers, norms."""
        embeddings = self.vocab * self.hidden * (1 if self.tied else 2)
        norms = (2 * self.layers + 1) * self.hidden
        return embeddings + self.linear_parameters + norms

    @property
    def linear_parameters(self) -> int:
        """Parameters of the linear layers without the output layer: what bitsandbytes quantizes."""
        return self.layers * sum(inputs * outputs for inputs, outputs in self._linear_sizes)

    def lora_parameters(self, rank: int) -> int:
        """Return the parameters of one adapter of ``rank`` on ``all-linear``.

        Each layer gets matrices of rank x inputs and outputs x rank (LoRA, arXiv 2106.09685).
        """
        return self.layers * rank * sum(inputs + outputs for inputs, outputs in self._linear_sizes)

    @property
    def query_width(self) -> int:
        """Width of all attention heads together."""
        return self.heads * self.head_dim

    @property
    def key_width(self) -> int:
        """Width of a layer's keys, and of its values."""
        return self.kv_heads * self.head_dim

    @property
    def _linear_sizes(self) -> tuple[tuple[int, int], ...]:
        """(inputs, outputs) of a layer's q, k, v, o, gate, up and down."""
        hidden, queries, keys = self.hidden, self.query_width, self.key_width
        attention = (hidden, queries), (hidden, keys), (hidden, keys), (queries, hidden)
        mlp = (hidden, self.intermediate), (hidden, self.intermediate), (self.intermediate, hidden)
        return *attention, *mlp


def base_bytes(shape: ModelShape, quantization: str, dtype_bytes: int) -> int:
    """Return the frozen base's bytes: linear layers as quantized, everything else in its type."""
    rest = (shape.parameters - shape.linear_parameters) * dtype_bytes
    return round(shape.linear_parameters * _BITS.get(quantization, 8 * dtype_bytes) / 8) + rest


def trainer_bytes(
    shape: ModelShape,
    quantization: str,
    dtype_bytes: int,
    rank: int | None,
    micro_batch: int,
    length: int,
    gradient_checkpointing: bool,
    eager_attention: bool = False,
    method: TrainingMethod = "dpo",
) -> int:
    """Return the memory that a training needs at its peak, in bytes.

    The sum of the weights, of what training adds to those that are trained, of
    ``activation_bytes``, ``head_bytes`` and a CUDA context. Chosen and rejected lie side by side:
    2 sequences a pair.

    Args:
        shape: of the base.
        quantization: as records name it, such as ``nf4-double``; ``none``.
        dtype_bytes: of the unquantized weights and the computation (2 for bfloat16).
        rank: of the adapter, on all linear layers; None where every weight is trained.
        micro_batch: pairs, or in ``sft`` examples, side by side.
        length: tokens of the longest prompt plus answer.
        gradient_checkpointing: keep a layer's input alone, and compute the rest again.
        eager_attention: attention writes its scores down; ``sdpa`` and flash attention do not.
        method: ``dpo`` holds a reference as well.
    """
    rows = micro_batch if method == "sft" else 2 * micro_batch
    tokens = rows * length
    scores = rows * shape.heads * length**2 if eager_attention else 0
    if rank is None:
        held = whole_bytes(shape, dtype_bytes, method)
    else:
        held = base_bytes(shape, quantization, dtype_bytes) + adapter_bytes(shape, rank, method)
    return (
        held
        + activation_bytes(shape, dtype_bytes, tokens, scores, gradient_checkpointing)
        + head_bytes(shape, dtype_bytes, tokens, method)
        + CUDA_CONTEXT
    )


def adapter_bytes(shape: ModelShape, rank: int, method: TrainingMethod = "dpo") -> int:
    """Return the bytes of the adapters, which stay in float32.

    4 numbers of 4 bytes a parameter: weight, gradient and Adam's two moments; in ``dpo`` a fifth,
    the reference's weight.
    """
    return shape.lora_parameters(rank) * 4 * (5 if method == "dpo" else 4)


def whole_bytes(shape: ModelShape, dtype_bytes: int, method: TrainingMethod) -> int:
    """Return the bytes of a model of which every weight is trained, in float32.

    As many numbers a parameter as an adapter has; in half types also the copies that autocast
    keeps of the weights; and the LM head's gradient before it is added to the others.
    """
    copies = dtype_bytes if dtype_bytes < 4 else 0
    a_parameter = 4 * (5 if method == "dpo" else 4) + copies
    return shape.parameters * a_parameter + 4 * shape.vocab * shape.hidden


def activation_bytes(
    shape: ModelShape, dtype_bytes: int, tokens: int, scores: int, gradient_checkpointing: bool
) -> int:
    """Return the bytes that the backward pass needs of the forward pass.

    One layer keeps, for every token: both norms' inputs in float32 and their outputs (the linear
    layers' inputs); queries, keys and values for every head, and the attention's output as written
    and as read; gate, its activation, up and their product. In all

        8 hidden + type * (2 hidden + 5 query_width + 4 intermediate)

    and for every attention score that is written down, ``2 type + 4`` (before the softmax, after
    it in float32, and cast back). All layers keep this, or with gradient checkpointing only their
    input; either way one layer is in work, with its largest weight dequantized.

    Args:
        shape: of the base.
        dtype_bytes: of the computation.
        tokens: in the whole batch.
        scores: attention scores a layer in the whole batch.
        gradient_checkpointing: as in ``trainer_bytes``.
    """
    widths = 2 * shape.hidden + 5 * shape.query_width + 4 * shape.intermediate
    layer = tokens * (8 * shape.hidden + dtype_bytes * widths) + scores * (2 * dtype_bytes + 4)
    kept = tokens * shape.hidden * dtype_bytes if gradient_checkpointing else layer
    weight = shape.hidden * max(shape.intermediate, shape.query_width) * dtype_bytes
    return shape.layers * kept + layer + weight


def head_bytes(
    shape: ModelShape, dtype_bytes: int, tokens: int, method: TrainingMethod = "dpo"
) -> int:
    """Return the bytes of the logits, and of the gradient of the states that they are made of.

    The check of step 0 and the canary hold a slice of ``SLICE_BYTES`` in float32: in the model's
    type, in float32, and its log-softmax. The steps hold a tile of TRL's fused head in the model's
    type, and the states' gradient in float32. The two are never there together. ``orpo`` has
    no such head in TRL: the logits of all tokens, in the model's type, in float32, their
    log-softmax and their gradient.
    """
    logits = tokens * shape.vocab
    if method == "orpo":
        return logits * (dtype_bytes + 4 + 4 + 4)
    checked = min(SLICE_BYTES // 4, logits) * (dtype_bytes + 4 + 4)
    tile = min(_TILE_TOKENS, tokens) * min(_TILE_VOCAB, shape.vocab) * dtype_bytes
    return max(checked, tile + tokens * shape.hidden * 4)


def _size(config: Mapping[str, Any], key: str) -> int | None:
    value = config.get(key)
    return value if type(value) is int and value > 0 else None
