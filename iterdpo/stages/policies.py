"""The policies that stages leave in their directories, read back.

The one place that knows how the stages that make policies (``names.POLICIES``) keep them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from iterdpo.models.layout import ADAPTER_DIR, DEQUANTIZED_DIR, MODEL_DIR, TRAINING_FILE
from iterdpo.models.prequantized import PREQUANTIZED
from iterdpo.records import Adapter, Base, Policy

MERGED_FILE = "merged.json"

SERVED_AS_THEY_ARE = ("none", *PREQUANTIZED)
"""Bases of which engines serve the checkpoint itself: training computes with its very weights."""


def base_policy(name: str, directory: Path, settings: Mapping[str, Any], checkpoint: str) -> Policy:
    """Return the bare base.

    Args:
        name: of the policy.
        directory: of a ``base`` stage.
        settings: of that stage: the sha256 of the ``checkpoint``, ``quantization`` and ``dtype``.
        checkpoint: where it lies, which the stage does not say.
    """
    served_as_it_is = settings["quantization"] in SERVED_AS_THEY_ARE
    return Policy(
        name,
        Base(
            path=checkpoint,
            sha256=settings["checkpoint"],
            quantization=settings["quantization"],
            dtype=settings["dtype"],
            dequantized=checkpoint if served_as_it_is else str(directory / DEQUANTIZED_DIR),
        ),
    )


def trained_policy(name: str, directory: Path, start: Policy) -> Policy:
    """Return the policy that a training which began at ``start`` left in ``directory``.

    It is an adapter on the same base, or, where every weight was trained, a base of its own.
    """
    report = json.loads((directory / TRAINING_FILE).read_text("utf-8"))
    if "adapter_sha256" in report:
        adapter = Adapter(str(directory / ADAPTER_DIR), report["adapter_sha256"])
        return Policy(name, start.base, adapter, parent=start.fingerprint)
    model = str(directory / MODEL_DIR)
    base = replace(start.base, path=model, dequantized=model, sha256=report["weights_sha256"])
    return Policy(name, base, parent=start.fingerprint)


def merged_policy(name: str, directory: Path) -> Policy:
    """Return the policy whose adapter was merged into its base, which lies in ``directory``."""
    values = json.loads((directory / MERGED_FILE).read_text("utf-8"))
    parent = values.pop("parent")
    model, dequantized = directory / MODEL_DIR, directory / DEQUANTIZED_DIR
    served = dequantized if dequantized.is_dir() else model
    return Policy(name, Base(path=str(model), dequantized=str(served), **values), parent=parent)
