"""A trained adapter becomes part of the weights under it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from iterdpo.errors import LineageError
from iterdpo.models.canary import CANARY_FILE, Canary
from iterdpo.models.checkpoint import (
    checkpoint_sha256,
    copy_all_but_weights,
    load_base,
    save_dequantized,
)
from iterdpo.models.layout import DEQUANTIZED_DIR, MODEL_DIR
from iterdpo.models.loading import differing_adapter_keys, free_memory, load_plain
from iterdpo.records import Base, Policy
from iterdpo.store.atomic import write_text
from iterdpo.training.canary import WatchedTexts
from iterdpo.training.checks import POLICY


def merge(policy: Policy, directory: Path, trust_remote_code: bool = False) -> Base:
    """Write a checkpoint with ``policy``'s adapter merged in, and what an engine needs of it.

    The sum is formed in float32, on the CPU (4 bytes a parameter), and rounded once to the base's
    type. Below ``directory`` are left: the checkpoint, its dequantized checkpoint where the base is
    quantized, and a canary that tells it from the base without the adapter.

    Raises:
        LineageError: the adapter's file does not fit the base.
    """
    import torch

    adapter, base = policy.adapter, policy.base
    assert adapter is not None
    model = directory / MODEL_DIR
    whole = merged_model(base, adapter.path, trust_remote_code)
    whole.to(getattr(torch, base.dtype)).save_pretrained(model, safe_serialization=True)
    del whole
    copy_all_but_weights(Path(base.path), model)
    merged = dataclasses.replace(
        base, path=str(model), dequantized=str(model), sha256=checkpoint_sha256(model)
    )
    if base.quantization != "none":
        image = directory / DEQUANTIZED_DIR
        save_dequantized(merged, image, trust_remote_code)
        merged = dataclasses.replace(merged, dequantized=str(image))
    _write_canary(merged, Path(adapter.path).parent / CANARY_FILE, directory, trust_remote_code)
    return merged


def merged_model(base: Base, adapter: str, trust_remote_code: bool = False) -> Any:
    """Return the checkpoint at ``base.path`` with an adapter added to its weights, in float32.

    Raises:
        LineageError: the adapter's file does not fit the base.
    """
    from peft import PeftModel

    whole = load_plain(base.path, "float32", "cpu", trust_remote_code=trust_remote_code)
    model = PeftModel.from_pretrained(whole, adapter, adapter_name=POLICY)
    if differing := differing_adapter_keys(model, POLICY, adapter):
        raise LineageError(
            f"the adapter {adapter} does not fit {base.path}: {len(differing)} tensors differ, "
            f"first {differing[0]}"
        )
    return model.merge_and_unload(safe_merge=True)


def _write_canary(merged: Base, tuned: Path, directory: Path, trust_remote_code: bool) -> None:
    """Measure the texts of the adapter's canary under the merged and quantized weights."""
    canary = Canary.read(tuned)
    texts = tuple((text.prompt_ids, text.token_ids) for text in canary.texts)
    before, engine = (
        tuple(getattr(text, name) for text in canary.texts) for name in ("before", "engine")
    )
    model = load_base(merged, trust_remote_code=trust_remote_code)
    measured = WatchedTexts(
        texts, before, engine, canary.noise, canary.floor, canary.groups
    ).measured(model)
    del model
    free_memory()
    write_text(directory / CANARY_FILE, json.dumps(dataclasses.asdict(measured)) + "\n")
