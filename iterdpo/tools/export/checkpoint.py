"""Writing a policy as a checkpoint: its adapter merged, or its own weights as they are."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

from iterdpo.errors import UserError
from iterdpo.models.checkpoint import checkpoint_sha256, copy_all_but_weights
from iterdpo.models.loading import free_memory
from iterdpo.models.prequantized import PREQUANTIZED
from iterdpo.records import Policy
from iterdpo.store.atomic import disk_errors_named, published_directory, write_text
from iterdpo.tools.export.check import as_json, check_checkpoint

On = Literal["original", "dequantized"]

LINEAGE_FILE = "iterdpo.json"
"""Where the checkpoint says whose it is."""
SHARD = "5GB"
"""The most that one file of weights holds."""

# What tells of the base alone: its card, and how its weights are packed.
_OF_THE_BASE = ("README.md", "quantize_config.json", "quant_config.json")


def export(
    policy: Policy,
    target: Path,
    *,
    on: On = "original",
    dtype: str | None = None,
    trust_remote_code: bool = False,
) -> str:
    """Write ``policy`` to ``target`` as a checkpoint and return a line that says what it is.

    The sum of base and adapter is formed in float32 on the CPU (4 bytes a parameter), rounded once,
    and held against the policy (see ``check``) before the directory gets its name.

    Args:
        policy: the model.
        target: a directory that does not exist yet.
        on: the weights under the adapter. ``dequantized``: those that the training saw.
        dtype: type of the written weights; None for the one that the run computed in.
        trust_remote_code: whether code that comes with the checkpoint may run.

    Raises:
        UserError: ``target`` exists or cannot be written; weights are not where they were; a type
            was named for weights that are copied, or would lose what the adapter learned.
        LineageError: what was written is not the policy.
    """
    if target.exists() or target.is_symlink():
        raise UserError(f"{target}: exists already, and nothing is written over; name another")
    source = _source(policy, on)
    named = disk_errors_named(target.parent, "another place, --out DIR")
    with named, published_directory(target) as work:
        if policy.adapter is None:
            if dtype not in (None, policy.base.dtype):
                raise UserError(
                    f"--dtype {dtype}: {policy.name} has no adapter to merge, and its weights are "
                    "copied as they are; leave the option out"
                )
            said = _copy(policy, source, work)
            check: Mapping[str, object] = {"copied": str(checkpoint_sha256(work))}
        else:
            said, check = _merge(policy, source, work, dtype, trust_remote_code)
        lineage = {
            "model": policy.name,
            "fingerprint": policy.fingerprint,
            "parent": policy.parent,
            "base_sha256": policy.base.sha256,
            "quantization": policy.base.quantization,
            "adapter_sha256": policy.adapter.sha256 if policy.adapter else None,
            "on": on if policy.base.quantization != "none" else "original",
            "check": check,
        }
        write_text(work / LINEAGE_FILE, json.dumps(lineage, indent=2) + "\n")
    return said


def _source(policy: Policy, on: On) -> Path:
    scheme = policy.base.quantization
    if on == "original" and scheme in PREQUANTIZED and policy.adapter is not None:
        raise UserError(
            f"--on original: the checkpoint under {policy.name} comes quantized ({scheme}), and "
            "nothing can be added to packed weights; take --on dequantized"
        )
    source = Path(policy.base.dequantized if on == "dequantized" else policy.base.path)
    for place in (source, Path(policy.base.path)):  # the image has no tokenizer of its own
        if not (place / "config.json").is_file():
            raise UserError(
                f"{place}: the weights under {policy.name} are no longer there; run the same "
                "command again, or bring the checkpoint back"
            )
    return source


def _copy(policy: Policy, source: Path, work: Path) -> str:
    for file in sorted(source.iterdir()):
        if file.is_file():
            shutil.copyfile(file, work / file.name)
    if source != Path(policy.base.path):
        copy_all_but_weights(Path(policy.base.path), work)
        _declare(work / "config.json", policy.base.dtype)
    elif checkpoint_sha256(work) != policy.base.sha256:
        raise UserError(f"{source}: has changed since the run: its sha256 is another")
    (work / "README.md").unlink(missing_ok=True)  # it tells of the checkpoint that was copied
    return f"{policy.name}, whose own weights were copied"


def _merge(
    policy: Policy, source: Path, work: Path, dtype: str | None, trust_remote_code: bool
) -> tuple[str, Mapping[str, object]]:
    import torch

    from iterdpo.training.merging import merged_model

    assert policy.adapter is not None
    under = replace(policy, base=replace(policy.base, path=str(source)))
    dtype = dtype or policy.base.dtype
    merged = merged_model(under.base, policy.adapter.path, trust_remote_code)
    merged.to(getattr(torch, dtype)).save_pretrained(
        work, safe_serialization=True, max_shard_size=SHARD
    )
    del merged
    free_memory()
    copy_all_but_weights(Path(policy.base.path), work)
    for name in _OF_THE_BASE:
        (work / name).unlink(missing_ok=True)
    _declare(work / "config.json", dtype)
    check = check_checkpoint(under, work, dtype, trust_remote_code)
    kept = "" if check.lost is None else f", {1 - check.lost:.1%} of the adapter's effect kept"
    return (
        f"{policy.name} merged, in {dtype}: its logits are the policy's to "
        f"{check.difference:.1g} of their size ({check.tolerance:.1g} is allowed){kept}",
        as_json(check),
    )


def _declare(config: Path, dtype: str) -> None:
    """Let the configuration name the type of the written weights, and no quantization."""
    values = json.loads(config.read_text("utf-8"))
    for name in ("torch_dtype", "quantization_config"):
        values.pop(name, None)
    values["dtype"] = dtype
    write_text(config, json.dumps(values, indent=2, sort_keys=True) + "\n")
