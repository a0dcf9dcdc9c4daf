"""The frozen base under every adapter: quantized for training, dequantized for serving.

``model.dequantize()`` of an NF4 model gives back the very weights that QLoRA's forward multiplies
by, so an engine that serves the saved image computes the same function as the trainer.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from iterdpo.errors import UserError
from iterdpo.models.hardware import switch_cudnn_attention_off
from iterdpo.models.loading import TEKKEN, free_memory, load_whole
from iterdpo.models.prequantized import PREQUANTIZED
from iterdpo.records import Base
from iterdpo.store.hashing import HashFile, file_sha256, files_sha256

_LARGEST = 2**31 - 1  # what an index of 32 bits can count
_SIZES = (
    "vocab_size", "hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads",
    "head_dim", "max_position_embeddings",
)  # fmt: skip
_NUMBERS = {
    **dict.fromkeys(_SIZES, (1, _LARGEST)),
    "num_hidden_layers": (1, 10_000),  # each is built, so a wrong one would build for hours
    "sliding_window": (0, _LARGEST),
    "eos_token_id": (0, _LARGEST),
    "bos_token_id": (-1, _LARGEST),  # some say -1 for none
    "pad_token_id": (-1, _LARGEST),
}
"""The least and the most of what a configuration says of a model's size and tokens, or null."""
_WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".h5", ".msgpack")
_LFS_POINTER = b"version https://git-lfs.github.com/"
_WEIGHT_FILES = ("*.safetensors", "*.json", "*.jinja", "tokenizer.model", "merges.txt", "vocab.txt")


def find_checkpoint(path: str, revision: str | None, key: str) -> Path:
    """Return the directory of a checkpoint, from the hub where it is not a local one.

    Args:
        path: a directory, or an id on the hub.
        revision: the hub's branch, tag or commit.
        key: the setting that named it, for messages.

    Raises:
        UserError: it is neither a local checkpoint nor one that the hub can give.
    """
    local = Path(path).expanduser()
    if local.is_dir():
        if not (local / "config.json").is_file():
            raise UserError(f"{key}={path}: no config.json there")
        return _described(local.resolve(), f"{key}={path}")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        found = snapshot_download(
            path,
            revision=revision,
            allow_patterns=list(_WEIGHT_FILES),
            ignore_patterns=["consolidated*"],  # Mistral's own copy of the same weights
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{key}={path}: neither a checkpoint directory nor a model that the hub "
            f"gives ({reason}); check the name, log in, or download it first"
        ) from error
    return _described(Path(found), f"{key}={path}")


def _described(checkpoint: Path, said: str) -> Path:
    """Return a checkpoint whose configuration can be read and holds numbers that a model can have.

    Libraries check some of them, some of the time, and not before a run has begun.
    """
    for name in ("config.json", "generation_config.json"):
        if name == "config.json" or (checkpoint / name).is_file():
            values = _object(checkpoint / name, said)
            _require_numbers(values, f"{said}: its {name} has ")
            if nested := values.get("text_config"):
                if not isinstance(nested, dict):
                    raise UserError(f"{said}: its {name} has a text_config that is no object")
                _require_numbers(nested, f"{said}: its {name} has text_config.")
    if (checkpoint / TEKKEN).is_file() and not (checkpoint / "tokenizer.json").is_file():
        raise UserError(
            f"{said}: its tokenizer is in Mistral's own form alone ({TEKKEN}); write it in that of "
            'transformers, with mistral-common installed: python -c "from transformers import '
            f"AutoTokenizer as T; T.from_pretrained('{checkpoint}').save_pretrained("
            f"'{checkpoint}', save_format='hf')\""
        )
    return checkpoint


def _require_numbers(values: Mapping[str, Any], said: str) -> None:
    for key, (least, most) in _NUMBERS.items():
        declared = values.get(key)
        # Some architectures have a size for each layer, some models several tokens that end.
        for one in declared if isinstance(declared, list) and declared else [declared]:
            if one is not None and (type(one) is not int or not least <= one <= most):
                raise UserError(
                    f"{said}{key}={declared!r:.80}, where a whole number from {least} to {most} "
                    "belongs; get the checkpoint again"
                )
    pad, tokens = values.get("pad_token_id"), values.get("vocab_size")
    if isinstance(pad, int) and isinstance(tokens, int) and pad >= tokens:
        raise UserError(
            f"{said}pad_token_id={pad}, and the model has {tokens} tokens (vocab_size); set it to "
            "one of them, or to null"
        )


def _object(file: Path, said: str) -> dict[str, Any]:
    try:
        values = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise UserError(f"{said}: its {file.name} is no JSON object; get the checkpoint again")
    return values


def checkpoint_sha256(
    checkpoint: Path, key: str = "model.path", hash_file: HashFile = file_sha256
) -> str:
    """Return one hash over the weights, tokenizer and configuration of a checkpoint.

    Args:
        checkpoint: its directory.
        key: the setting that named it, for messages.
        hash_file: how to come by a file's hash.

    Raises:
        UserError: it has no weights in safetensors, or pointers to files in their place.
    """
    files = {path for pattern in _WEIGHT_FILES for path in checkpoint.glob(pattern)}
    if not any(path.suffix == ".safetensors" for path in files):
        raise UserError(
            f"{key}={checkpoint}: no .safetensors weights; convert the checkpoint first "
            "(pickled weights are not loaded)"
        )
    for path in sorted(files):
        with path.open("rb") as file:
            if file.read(len(_LFS_POINTER)) == _LFS_POINTER:
                raise UserError(
                    f"{key}={checkpoint}: {path.name} is a Git LFS pointer, not the file itself; "
                    "run `git lfs pull` there, or download the checkpoint with `hf download`"
                )
    return files_sha256(checkpoint, sorted(files), hash_file)


def require_finite(checkpoint: Path, key: str = "model.path") -> None:
    """Raise ``UserError`` where a weight of a checkpoint is no finite number, or is damaged."""
    import torch
    from safetensors import SafetensorError, safe_open

    for path in sorted(checkpoint.glob("*.safetensors")):
        try:
            with safe_open(path, "pt") as file:
                for name in file.keys():  # noqa: SIM118  # it is no mapping
                    tensor = file.get_tensor(name)
                    if tensor.is_floating_point() and not torch.isfinite(tensor.float()).all():
                        raise UserError(
                            f"{key}={checkpoint}: {name} in {path.name} holds NaN or infinity; the "
                            "checkpoint is damaged, or its training diverged"
                        )
        except SafetensorError as error:
            raise UserError(
                f"{key}={checkpoint}: {path.name} is damaged ({error}); get it again"
            ) from None


def quantization_config(quantization: str, dtype: str) -> Any:
    """Return transformers' configuration for a scheme, or None for ``none``."""
    import torch
    from transformers import BitsAndBytesConfig

    if quantization == "none":
        return None
    if quantization == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=quantization == "nf4-double",
        bnb_4bit_compute_dtype=getattr(torch, dtype),
    )


def load_base(base: Base, attention: str | None = None, trust_remote_code: bool = False) -> Any:
    """Load the base, quantized, fresh from its checkpoint and in training mode.

    Fresh and never in evaluation mode, because bitsandbytes on CPUs with AVX512-BF16 repacks 4-bit
    weights in the first forward without gradients, and training afterwards runs a kernel that
    autograd does not see, with no more than a warning.
    """
    import torch

    switch_cudnn_attention_off()
    if base.quantization in PREQUANTIZED:
        from iterdpo.models.packed_checkpoint import load_packed

        return load_packed(
            base.path,
            dtype=base.dtype,
            device=_device(),
            attention=attention,
            trust_remote_code=trust_remote_code,
        ).train()
    model = load_whole(
        base.path,
        dtype=getattr(torch, base.dtype),
        quantization_config=quantization_config(base.quantization, base.dtype),
        attn_implementation=attention,
        trust_remote_code=trust_remote_code,
        device_map={"": _device()},
    )
    model.train()
    return model


def save_dequantized(base: Base, directory: Path, trust_remote_code: bool = False) -> None:
    """Write the dequantized checkpoint of ``base`` to ``directory`` as a plain checkpoint."""
    model = load_base(base, trust_remote_code=trust_remote_code)
    model = model.dequantize()
    model.config.__dict__.pop("quantization_config", None)
    model.save_pretrained(directory, safe_serialization=True)
    del model
    free_memory()
    _declare_plain(directory / "config.json")


def copy_all_but_weights(checkpoint: Path, directory: Path) -> None:
    """Copy a checkpoint's tokenizer, configuration and code beside other weights of its shape."""
    for file in sorted(checkpoint.iterdir()):
        weights = file.suffix in _WEIGHT_SUFFIXES or file.name.endswith(".index.json")
        if file.is_file() and not weights:
            shutil.copyfile(file, directory / file.name)
    _declare_plain(directory / "config.json")


def _declare_plain(config: Path) -> None:
    """Remove from a ``config.json`` how weights that are no longer there were quantized."""
    values = json.loads(config.read_text("utf-8"))
    if "quantization_config" in values:
        del values["quantization_config"]
        config.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", "utf-8")


def _device() -> str:
    import torch

    return "cuda:0" if torch.cuda.is_available() else "cpu"


def without_own_dropout(base: Any) -> Any:
    """Switch off the dropout that a base brings along, and return the base.

    It would make step 0 a matter of chance, which no check can follow. TRL switches off a part of
    it in DPO and nothing in supervised fine-tuning; an adapter's own, added later, is left alone.
    """
    import torch

    for module in base.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        # Attention, for one, is given its share as a number.
        for name, share in vars(module).items():
            if "drop" in name and isinstance(share, float):
                setattr(module, name, 0.0)
    return base
