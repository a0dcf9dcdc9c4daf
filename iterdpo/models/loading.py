"""Checkpoints as engines and trainers hold them."""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from iterdpo.errors import UserError
from iterdpo.models.chat_messages import Request
from iterdpo.models.chat_template import Chat, ConversationError
from iterdpo.models.hardware import switch_cudnn_attention_off
from iterdpo.models.layout import ADAPTER_WEIGHTS
from iterdpo.models.loadable import line, loading
from iterdpo.models.prequantized import Packing

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

TEKKEN = "tekken.json"
"""Mistral's own form of a tokenizer."""


def load_tokenizer(path: str, trust_remote_code: bool = False, key: str = "model.path") -> Any:
    """Load the tokenizer of a checkpoint, which the setting ``key`` names.

    Of Mistral's checkpoints that bring ``tekken.json`` as well, transformers would take that where
    mistral-common is installed, as it is beside vLLM: other tokens, and no chat template. It is the
    one in ``tokenizer.json`` on every machine, split as ``tekken.json`` says, which files written
    by transformers 4 do not.

    Raises:
        UserError: it cannot be loaded, names several chat templates and none as the default, or
            writes tokens that the model does not have.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            path,
            trust_remote_code=trust_remote_code,
            mistral_format=False,
            **({"fix_mistral_regex": True} if (Path(path) / TEKKEN).is_file() else {}),
        )
    except Exception as error:  # ``tokenizers`` raises nothing more special
        raise UserError(f"{key}={path}: its tokenizer cannot be loaded: {line(error)}") from error
    templates = tokenizer.chat_template
    if isinstance(templates, dict) and "default" not in templates:
        raise UserError(
            f"{key}={path}: its tokenizer has the chat templates {', '.join(sorted(templates))} "
            "and no default; save the one to use as its chat_template.jinja"
        )
    longest = tokenizer.model_max_length
    if not (isinstance(longest, int | float) and longest >= 1):
        raise UserError(
            f"{key}={path}: its tokenizer has model_max_length={longest!r:.80}, where a number of "
            "tokens belongs; get the checkpoint again"
        )
    size, highest = declared_vocabulary(path), highest_token(tokenizer)
    if size is not None and highest >= size:
        raise UserError(
            f"{key}={path}: its tokenizer writes tokens up to {highest}, and the model has "
            f"{size} of them (vocab_size); resize the model's embedding to its tokenizer, or give "
            "the tokenizer that belongs to it"
        )
    return tokenizer


def highest_token(tokenizer: Any) -> int:
    """Return the highest id that a text, the chat template or the end of an answer can bring.

    Special tokens that none of them writes, such as one for padding, have no need of a place in the
    model.
    """
    special = {token for token, it in tokenizer.added_tokens_decoder.items() if it.special}
    texts = (token for token in tokenizer.get_vocab().values() if token not in special)
    chat = Chat(tokenizer)
    with suppress(ConversationError):  # whoever has a conversation is told
        return int(max(*texts, *chat.encode(Request.of("x")), tokenizer.eos_token_id or 0))
    return max(texts, default=0)


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
    return _declared(Path(path), "max_position_embeddings")


def declared_vocabulary(path: str) -> int | None:
    """Return the number of tokens that a checkpoint declares to have, if it does."""
    return _declared(Path(path), "vocab_size")


def _declared(checkpoint: Path, size: str) -> int | None:
    file = checkpoint / "config.json"
    if not file.is_file():
        return None
    values = json.loads(file.read_text("utf-8"))
    declared = (values.get("text_config") or values).get(size)
    return declared if isinstance(declared, int) else None


def context_of(config: Any, limit: int | None) -> int:
    """Return the most tokens that a model may be given.

    Args:
        config: of the model, as transformers has loaded it.
        limit: ``model.context``, where it is set.

    Raises:
        UserError: neither says so.
    """
    declared = getattr(config.get_text_config(), "max_position_embeddings", None)
    if limits := [most for most in (declared, limit) if most]:
        return int(min(limits))
    raise UserError("model.context=null: the checkpoint declares none; set it, in tokens")


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

    model = load_plain(path, dtype, str(device), attention, trust_remote_code)
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

    switch_cudnn_attention_off()
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
    model = load_whole(
        path,
        dtype=getattr(torch, dtype),
        attn_implementation=attention,
        trust_remote_code=trust_remote_code,
    )
    return model.to(device)


def load_whole(path: str, **settings: Any) -> Any:
    """Load a causal language model, every tensor of its architecture from its files.

    Args:
        path: directory of the checkpoint.
        **settings: as ``from_pretrained`` takes them.

    Raises:
        UserError: it cannot be loaded, or a tensor is not there or of another shape: transformers
            would fill it with random numbers.
    """
    from transformers import AutoModelForCausalLM

    with loading(f"model.path={path}"):
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            path,
            use_safetensors=True,
            output_loading_info=True,
            **settings,
        )
    model, info = loaded
    if absent := sorted(info["missing_keys"]):
        raise UserError(
            f"model.path={path}: the model cannot be loaded: {len(absent)} of its tensors are not "
            f"in its files, such as {absent[0]}"
        )
    if beyond := sorted(info["unexpected_keys"]):  # as a larger model's layers, or its sight
        log.warning(
            "model.path=%s: left out: %d tensors in its files that the model of its config.json "
            "does not have, such as %s", path, len(beyond), beyond[0],
        )  # fmt: skip
    return model


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


def free_memory() -> None:
    """Give back what nothing refers to any more, to the CPU and to the GPU."""
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
