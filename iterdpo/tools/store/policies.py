"""A policy, walked back to the checkpoint that it began with: training by training.

Knows the stages that make policies by their names and by the files they leave.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from iterdpo.errors import UserError
from iterdpo.records import record_id
from iterdpo.store.identity import Ref, parents
from iterdpo.store.inventory import Finished, Inventory

BASE, SFT, MERGED, ADAPTER = "base", "sft", "merged", "adapter"
POLICIES = (BASE, SFT, MERGED, ADAPTER)
"""The stages whose result is a policy."""
PAIRS = "pairs"

ADAPTER_DIR, MODEL_DIR = "adapter", "model"
ADAPTER_WEIGHTS = f"{ADAPTER_DIR}/adapter_model.safetensors"
_WEIGHTS_HASHES = {"merged.json": "sha256", "training.json": "weights_sha256"}
"""Where a stage that made a whole checkpoint says its hash."""

Row = Mapping[str, Any]
"""A record as its table holds it."""


@dataclass(frozen=True, slots=True)
class PolicyNode:
    """A policy and the stage it lies in."""

    name: str
    """``M0``, ``M1``, ...; ``base`` and ``tuned`` where M0 was made of these."""
    fingerprint: str
    stage: Ref
    parent: str | None
    """Fingerprint of the policy that it was made from; None for a bare base."""
    adapter: str | None
    """Directory of its adapter; None for a policy that is a whole checkpoint."""
    adapter_sha256: str | None
    trained_on: Ref | None
    """The pairs it learned from; None for what was there before the first iteration."""
    base: Row
    """Of its checkpoint, or of the one under its adapter: ``checkpoint`` (a sha256),
    ``quantization`` and ``dtype``."""


def policy_chain(inventory: Inventory, ref: Ref) -> list[PolicyNode]:
    """Return the policy in the stage ``ref`` and those it was made from, down to the bare base.

    Raises:
        UserError: a stage of the chain is missing or of another version.
    """
    stages = [stored(inventory, ref)]
    while stages[-1].ref.stage != BASE:
        # The first policy that a training is given is the one that it starts from.
        stages.append(stored(inventory, parent_of(stages[-1], *POLICIES)))
    nodes: list[PolicyNode] = []
    for stage in reversed(stages):
        nodes.append(_made(stage, nodes[-1]) if nodes else _bare(stage))
    earliest = sum(node.trained_on is None for node in nodes)
    for index, name in zip(range(earliest - 1, -1, -1), ("M0", "tuned", "base"), strict=False):
        nodes[index] = replace(nodes[index], name="base" if index == 0 < earliest - 1 else name)
    return nodes[::-1]


def parent_of(stage: Finished, *names: str) -> Ref:
    """Return the first argument of ``stage`` that is a stage of one of these names.

    Raises:
        UserError: it has none.
    """
    ref = next((ref for ref in parents(stage.identity) if ref.stage in names), None)
    if ref is None:
        raise UserError(f"{stage.directory}: was given no {' or '.join(names)}: of another version")
    return ref


def stored(inventory: Inventory, ref: Ref) -> Finished:
    """Return a finished stage.

    Raises:
        UserError: it is not there, or cannot be read.
    """
    if ref not in inventory.finished:
        raise UserError(f"{ref}: is not in the store any more, so the pair cannot be walked back")
    stage = inventory.finished[ref]
    stage.readable()
    return stage


def _bare(stage: Finished) -> PolicyNode:
    settings = stage.identity["settings"]
    if not isinstance(settings, dict):
        raise UserError(f"{stage.directory}: is no base model's stage")
    return PolicyNode("M0", _fingerprint(settings), stage.ref, None, None, None, None, settings)


def _made(stage: Finished, start: PolicyNode) -> PolicyNode:
    args = stage.identity["args"]
    iteration = args[0] if stage.ref.stage == ADAPTER and isinstance(args, list) and args else 0
    node = replace(
        start,
        name=f"M{iteration}",
        stage=stage.ref,
        parent=start.fingerprint,
        adapter=None,
        adapter_sha256=None,
        trained_on=parent_of(stage, PAIRS) if stage.ref.stage == ADAPTER else None,
    )
    sha256 = stage.readable().files.get(ADAPTER_WEIGHTS)
    if sha256 is None:
        base = {**start.base, "checkpoint": _weights_sha256(stage)}
        return replace(node, base=base, fingerprint=_fingerprint(base))
    return replace(
        node,
        fingerprint=_fingerprint(start.base, sha256),
        adapter=str((stage.directory / ADAPTER_DIR).resolve()),
        adapter_sha256=sha256,
    )


def _fingerprint(base: Row, adapter_sha256: str = "") -> str:
    made_of = [str(base.get(name)) for name in ("checkpoint", "quantization", "dtype")]
    return record_id("policy", (record_id("base", made_of, 0, ""),), 0, adapter_sha256)


def _weights_sha256(stage: Finished) -> str:
    for file, name in _WEIGHTS_HASHES.items():
        if file in stage.readable().files:
            said = json.loads((stage.directory / file).read_text("utf-8"))
            if isinstance(said, dict) and isinstance(said.get(name), str):
                return str(said[name])
    raise UserError(f"{stage.directory}: names no {ADAPTER_WEIGHTS} and no hash of a checkpoint")
