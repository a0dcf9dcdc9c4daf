"""Checkpoints as engines and trainers hold them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from iterdpo.errors import UserError
from iterdpo.models.layout import ADAPTER_WEIGHTS
from iterdpo.models.prequantized import Packing

if TYPE_CHECKING:
    import torch


def load_tokenizer(path: str, trust_remote_code: bool = False, key: str = "model.path") -> Any:
    """Load the tokenizer of a checkpoint, which the setting ``key`` names.

    Raises:
        UserError: it cannot be loaded, or names several chat templates and none as the default.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        raise UserError(f"{key}={path}: its tokenizer cannot be loaded: {_line(error)}") from error
    templates = tokenizer.chat_template
    if isinstance(templates, dict) and "default" not in templates:
        raise UserError(
            f"{key}={path}: its tokenizer has the chat templates {', '.join(sorted(templates))} "
            "and no default; save the one to use as its chat_template.jinja"
        )
    return tokenizer


def declared_stop_tokens(path: str) -> int | list[int] | None:
    """Return the end-of-sequence ids that a checkpoint declares for generation, if any."""
    for name in ("generation_config.json", "config.json"):
        file = Path(path) / name
        if file.is_file():
            declared = json.loads(file.read_text("utf-8")).get("eos_token_id")
            if declared is not None:
                return cast("int | list[int]", declared)
    return None


def declared_context(path: str) -> int | None:
    """Return the most tokens that a checkpoint declares to hold, if it does."""
    config = json.loads((Path(path) / "config.json").read_text("utf-8"))
    declared = config.get("text_config", config).get("max_position_embeddings")
    return int(declared) if declared else None


def load_served_model(
    path: str,
    *,
    dtype: str,
    device: torch.device,
    attention: str | None,
    trust_remote_code: bool = False,
) -> Any:
    """Load a checkpoint for inference, sampling at nothing but what a call asks for.

    Checkpoints ship sampling defaults (a repetition penalty, top-k) that ``generate`` merges into
    every call; all but the stop tokens are removed here.
    """
    from transformers import GenerationConfig

    try:
        model = load_plain(path, dtype, str(device), attention, trust_remote_code)
    except (OSError, ValueError) as error:
        raise UserError(f"model.path={path}: the model cannot be loaded: {_line(error)}") from error
    shipped = model.generation_config
    model.generation_config = GenerationConfig(
        bos_token_id=shipped.bos_token_id,
        eos_token_id=shipped.eos_token_id,
        pad_token_id=shipped.pad_token_id,
    )
    return model.eval()


def load_plain(
    path: str,
    dtype: str,
    device: str,
    attention: str | None = None,
    trust_remote_code: bool = False,
) -> Any:
    """Load a checkpoint with ordinary weights; those of GPTQ and AWQ are unpacked once, for good.

    They are then the very weights that training computes with, and cost no more than others.
    """
    import torch
    from transformers import AutoModelForCausalLM

    packing = Packing.at(Path(path))
    if packing is not None and not packing.unreadable:
        from iterdpo.models.packed_checkpoint import load_packed, unpack

        return unpack(
            load_packed(
                path,
                dtype=dtype,
                device=device,
                attention=attention,
                trust_remote_code=trust_remote_code,
            )
        )
    model: Any = AutoModelForCausalLM.from_pretrained(
        path,
        dtype=getattr(torch, dtype),
        attn_implementation=attention,
        trust_remote_code=trust_remote_code,
        use_safetensors=True,
    )
    return model.to(device)


def differing_adapter_keys(model: Any, name: str, path: str) -> list[str]:
    """Return the tensors in which ``model``'s adapter ``name`` and the file at ``path`` differ."""
    import torch
    from peft import get_peft_model_state_dict
    from safetensors.torch import load_file

    held = get_peft_model_state_dict(model, adapter_name=name)
    stored = load_file(Path(path) / ADAPTER_WEIGHTS)
    differing = sorted(set(held) ^ set(stored))
    for key in sorted(set(held) & set(stored)):
        if not torch.equal(held[key].cpu(), stored[key].to(held[key].dtype)):
            differing.append(key)
    return differing


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def free_memory() -> None:
    """Give back what nothing refers to any more, to the CPU and to the GPU."""
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
