"""Tiny random checkpoints whose prompts look as their vendors document them, to the letter.

Of the families that the recipes name: Llama 3, bare and instructed, Mistral 7B Instruct v0.3, and
Qwen2.5 Instruct.
The templates are ours; the texts that they have to give stand, with their sources, in the tests.
"""

from __future__ import annotations

import json
from pathlib import Path

from tests.checkpoints import CHATML, CHATML_TURNS, Style, make_checkpoint

LLAMA_3 = (
    "{{ bos_token }}{% for message in messages %}<|start_header_id|>{{ message.role }}"
    "<|end_header_id|>\n\n{{ message.content | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
MISTRAL_V3 = (
    "{{ bos_token }}{% for message in messages %}{% if message.role == 'system' %}"
    "{{ raise_exception('no such role') }}{% elif message.role == 'user' %}"
    "[INST] {{ message.content }}[/INST]{% else %} {{ message.content }}{{ eos_token }}{% endif %}"
    "{% endfor %}"
)
QWEN_2_5 = (
    "{% if messages[0].role != 'system' %}<|im_start|>system\nYou are Qwen, created by Alibaba "
    "Cloud. You are a helpful assistant.<|im_end|>\n{% endif %}"
) + CHATML
LLAMA_3_TOKENS = ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>",
                  "<|end_header_id|>", "<|eot_id|>")  # fmt: skip
DOCUMENTED = {
    "llama3": Style("llama", None, LLAMA_3_TOKENS, "<|end_of_text|>"),
    "llama3_instruct": Style("llama", LLAMA_3, LLAMA_3_TOKENS, "<|eot_id|>"),
    "mistral_instruct": Style("mistral", MISTRAL_V3, ("<s>", "</s>", "[INST]", "[/INST]"), "</s>"),
    "qwen2_5_instruct": Style("qwen2", QWEN_2_5, ("<|endoftext|>", *CHATML_TURNS), "<|im_end|>"),
}


def make_documented(directory: Path, name: str) -> Path:
    """Write a checkpoint whose tokenizer opens every text itself, and whose answers end early."""
    make_checkpoint(directory, DOCUMENTED[name])
    _open_texts(directory / "tokenizer.json", DOCUMENTED[name].specials[0])
    end = json.loads((directory / "config.json").read_text())["eos_token_id"]
    _end_early(directory / "model.safetensors", end)
    return directory


def _open_texts(file: Path, opening: str) -> None:
    """Have the tokenizer put its first token before every text, as the vendors' do."""
    from tokenizers import Tokenizer
    from tokenizers.processors import TemplateProcessing

    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.post_processor = TemplateProcessing(
        single=f"{opening} $A", special_tokens=[(opening, tokenizer.token_to_id(opening))]
    )
    tokenizer.save(str(file))


def _end_early(file: Path, end: int) -> None:
    """Make the end of an answer about ten times as likely as any other token.

    Every token has the same large first feature, and the output layer reads the end from it.
    """
    from safetensors.torch import load_file, save_file

    weights = load_file(file)
    weights["model.embed_tokens.weight"][:, 0] = 0.3
    weights["lm_head.weight"][:, 0] = 0.0
    weights["lm_head.weight"][end, 0] = 0.35
    save_file(weights, file, metadata={"format": "pt"})
