"""Random Llama checkpoints of any size, whose answers always have the length asked for.

Speed depends on sizes, not on what weights hold. Only one thing of a real model is in the way:
that an answer ends where it likes. A stop token outside of the vocabulary would do for
transformers, but vLLM refuses it. So the stop token is a common one that is never likely: the first
number of every embedding is large, and in the output layer only the stop token looks at it, with a
large negative weight. The other weights are normal, and scaled down where layers write (as GPT-2
does), so that the first number stays what it is, quantized or not, and with adapters too.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iterdpo.lab.tokenizer import BOS, CHAT_TEMPLATE, EOS, PAD, ROLES, UNKNOWN
from iterdpo.models.memory import ModelShape

if TYPE_CHECKING:
    import torch

SHAPES = {
    "8b": ModelShape(4096, 32, 32, 8, 128, 14336, 128256, tied=False),  # Llama 3 8B
    "1b": ModelShape(2048, 16, 32, 8, 64, 8192, 128256, tied=False),  # Llama 3.2 1B, untied
    "tiny": ModelShape(64, 2, 2, 1, 32, 128, 512, tied=False),
}
CONTEXT = 8192
LAYERS_A_FILE = 4
SPREAD = 0.02
"""Standard deviation of the weights."""
STOP_WEIGHT = -100.0


def words(shape: ModelShape) -> list[str]:
    """Return the vocabulary: special tokens, digits, and words, each one token in any text."""
    fixed = [PAD, BOS, EOS, UNKNOWN, *ROLES, *"0123456789"]
    return [*fixed, *(f"w{number}" for number in range(shape.vocab - len(fixed)))]


def make_checkpoint(
    directory: Path, shape: ModelShape, dtype: str, device: str, seed: int = 0
) -> Path:
    """Write a checkpoint, made on ``device`` and never whole in memory, and return its directory.

    Args:
        directory: to write to; made if it is not there.
        shape: with an output layer of its own (not tied).
        dtype: ``bfloat16``, ``float16`` or ``float32``.
        device: where the numbers are drawn; a GPU does it in seconds.
        seed: of the weights.
    """
    import torch
    from safetensors.torch import save_file
    from transformers import LlamaConfig

    if shape.tied:
        raise ValueError("a stop token that is never likely needs an output layer of its own")
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer(shape)
    tokenizer.save_pretrained(directory)
    config = LlamaConfig(
        architectures=["LlamaForCausalLM"],
        dtype=dtype,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        intermediate_size=shape.intermediate,
        vocab_size=shape.vocab,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    config.save_pretrained(directory)
    index: dict[str, str] = {}
    total = 0
    draw = torch.Generator(device=device).manual_seed(seed)
    for file, tensors in _files(shape, tokenizer.eos_token_id, getattr(torch, dtype), draw):
        save_file(tensors, directory / file, metadata={"format": "pt"})
        index |= dict.fromkeys(tensors, file)
        total += sum(tensor.nbytes for tensor in tensors.values())
    listing = {"metadata": {"total_size": total}, "weight_map": index}
    (directory / "model.safetensors.index.json").write_text(json.dumps(listing, indent=1) + "\n")
    return directory


def _files(
    shape: ModelShape, stop: int, dtype: torch.dtype, draw: torch.Generator
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each weight file's name and tensors, on the CPU."""
    import torch

    device = draw.device
    hidden, inner, queries = shape.hidden, shape.intermediate, shape.query_width

    def normal(outputs: int, inputs: int, spread: float = SPREAD) -> torch.Tensor:
        values = torch.empty(outputs, inputs, dtype=dtype, device=device)
        return values.normal_(0, spread, generator=draw)

    # Where a layer adds to what goes through; 2 layers of such a kind in each block.
    quiet = SPREAD / math.sqrt(2 * shape.layers)
    ones = torch.ones(hidden, dtype=dtype)

    def layer(number: int) -> dict[str, torch.Tensor]:
        tensors = {
            "self_attn.q_proj": normal(queries, hidden),
            "self_attn.k_proj": normal(shape.key_width, hidden),
            "self_attn.v_proj": normal(shape.key_width, hidden),
            "self_attn.o_proj": normal(hidden, queries, quiet),
            "mlp.gate_proj": normal(inner, hidden),
            "mlp.up_proj": normal(inner, hidden),
            "mlp.down_proj": normal(hidden, inner, quiet),
            "input_layernorm": ones.clone(),
            "post_attention_layernorm": ones.clone(),
        }
        return {f"model.layers.{number}.{n}.weight": t.cpu() for n, t in tensors.items()}

    count = math.ceil(shape.layers / LAYERS_A_FILE) + 1
    embedding, head = normal(shape.vocab, hidden, 1.0), normal(shape.vocab, hidden)
    embedding[:, 0] = math.sqrt(hidden) / 2
    head[:, 0] = 0
    head[stop] = 0
    head[stop, 0] = STOP_WEIGHT
    yield (
        f"model-{1:05d}-of-{count:05d}.safetensors",
        {
            "model.embed_tokens.weight": embedding.cpu(),
            "lm_head.weight": head.cpu(),
            "model.norm.weight": ones.clone(),
        },
    )
    del embedding, head
    for number, first in enumerate(range(0, shape.layers, LAYERS_A_FILE), start=2):
        tensors: dict[str, torch.Tensor] = {}
        for index in range(first, min(first + LAYERS_A_FILE, shape.layers)):
            tensors |= layer(index)
        yield f"model-{number:05d}-of-{count:05d}.safetensors", tensors


def _tokenizer(shape: ModelShape) -> Any:
    """Return a tokenizer with one token a word, so that a text has as many tokens as words."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    ids = {word: number for number, word in enumerate(words(shape))}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        unk_token=UNKNOWN,
        additional_special_tokens=list(ROLES),
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )
