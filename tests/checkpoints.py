"""Tiny random checkpoints in the styles of well-known model families, made in milliseconds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

CheckpointOf = Callable[[str], Path]
"""From a style's name to the directory of a checkpoint; see the fixture ``checkpoint_of``."""

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
NO_SYSTEM = (
    "{{ bos_token }}{% for message in messages %}{% if message.role == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}<start_of_turn>"
    "{{ 'model' if message.role == 'assistant' else message.role }}\n{{ message.content | trim }}"
    "<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
ALTERNATING = CHATML.replace(
    "{% for message in messages %}",
    "{% for message in messages %}{% if (message.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate user/assistant') }}{% endif %}",
)
EMPTY_THOUGHT = CHATML.replace(
    "{{ message.content }}",
    "{% if message.role == 'assistant' and '</think>' not in message.content %}<think>\n\n</think>"
    "\n\n{% endif %}{{ message.content }}",
)
"""A finished turn has an empty thought where it brings none; a prompt leaves the choice open."""
OPEN_THOUGHT = CHATML.replace("assistant\n{% endif", "assistant\n<think>\n{% endif")
"""Every prompt ends inside a thought, and finished turns have none."""
BOTH_THOUGHTS = EMPTY_THOUGHT.replace("assistant\n{% endif", "assistant\n<think>\n{% endif")
SWITCHED_THOUGHT = (
    "{% set last = namespace(user=0) %}{% for message in messages %}"
    "{% if message.role == 'user' %}{% set last.user = loop.index0 %}{% endif %}{% endfor %}"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.role == 'assistant' %}{% set parts = message.content.split('</think>') %}"
    "{% if loop.index0 > last.user %}<think>\n"
    "{% if parts | length > 1 %}{{ parts[0].split('<think>')[-1].strip('\n') }}{% endif %}"
    "{{ '\n</think>\n\n' }}{% endif %}{{ parts[-1].lstrip('\n') }}"
    "{% else %}{{ message.content }}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n"
    "{% endif %}{% endif %}"
)
"""As Qwen3's: ``enable_thinking`` false closes an empty thought, and earlier turns lose theirs."""
CORPUS = (
    "Score: 4 out of 5. The answer is relevant, complete and clear.",
    "Name three animals in alphabetical order and finish with done.",
    "def add(a, b):\n    return a + b\n",
    "0 1 2 3 4 5 6 7 8 9",
)


@dataclass(frozen=True)
class Style:
    """What sets a family apart for this project."""

    family: str
    template: str | None
    specials: tuple[str, ...]
    eos: str


CHATML_TURNS = ("<|im_start|>", "<|im_end|>")
NO_SYSTEM_TURNS = ("<start_of_turn>", "<end_of_turn>")
STYLES = {
    "llama": Style("llama", CHATML, ("<s>", *CHATML_TURNS), "<|im_end|>"),
    "mistral": Style("mistral", NO_SYSTEM, ("<s>", *NO_SYSTEM_TURNS), "<end_of_turn>"),
    "qwen": Style("qwen2", CHATML, ("<|endoftext|>", *CHATML_TURNS), "<|im_end|>"),
    "gemma": Style("gemma", NO_SYSTEM, ("<bos>", *NO_SYSTEM_TURNS), "<end_of_turn>"),
    "base": Style("llama", None, ("<s>", "</s>"), "</s>"),
}


def make_checkpoint(
    directory: Path, style: str | Style, seed: int = 0, context: int = 4096
) -> Path:
    """Write a tiny random checkpoint in a style, by its name or as it is; return its directory."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    chosen = STYLES[style] if isinstance(style, str) else style
    tokenizer = make_tokenizer(chosen)
    sizes: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 32,
        "max_position_embeddings": context,
        "bos_token_id": 0,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": None,
    }
    torch.manual_seed(seed)
    config = AutoConfig.for_model(chosen.family, **sizes)
    model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def make_tokenizer(style: Style) -> PreTrainedTokenizerFast:
    """Return a byte-level BPE tokenizer: it spells any text."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(
        CORPUS, vocab_size=400, special_tokens=list(style.specials), show_progress=False
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer,
        bos_token=style.specials[0],
        eos_token=style.eos,
        chat_template=style.template,
    )
