"""A policy, walked back to the checkpoint that it began with: training by training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from iterdpo.errors import UserError
from iterdpo.records import Policy
from iterdpo.stages import names
from iterdpo.stages.policies import base_policy, merged_policy, trained_policy
from iterdpo.store.identity import Ref, parents
from iterdpo.store.inventory import Finished, Inventory


@dataclass(frozen=True, slots=True)
class PolicyNode:
    """A policy and the stage it lies in."""

    policy: Policy
    """Named ``M0``, ``M1``, ...; ``base`` and ``tuned`` where M0 was made of these. Where the bare
    base's checkpoint lies is not known."""
    stage: Ref
    trained_on: Ref | None = None
    """The pairs it learned from; None for what was there before the first iteration."""


def policy_chain(inventory: Inventory, ref: Ref) -> list[PolicyNode]:
    """Return the policy in the stage ``ref`` and those it was made from, down to the bare base.

    Raises:
        UserError: a stage of the chain is missing or of another version.
    """
    stages = [stored(inventory, ref)]
    while stages[-1].ref.stage != names.BASE:
        # The first policy that a training is given is the one that it starts from.
        stages.append(stored(inventory, parent_of(stages[-1], *names.POLICIES)))
    nodes: list[PolicyNode] = []
    for stage in reversed(stages):
        nodes.append(_node(stage, nodes[-1].policy if nodes else None))
    earliest = sum(node.trained_on is None for node in nodes)
    for index, name in zip(range(earliest - 1, -1, -1), ("M0", "tuned", "base"), strict=False):
        named = replace(nodes[index].policy, name="base" if index == 0 < earliest - 1 else name)
        nodes[index] = replace(nodes[index], policy=named)
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


def _node(stage: Finished, start: Policy | None) -> PolicyNode:
    """Return the policy that ``stage`` made of ``start``; None for the stage of a bare base.

    Raises:
        UserError: it holds none that this version reads.
    """
    identity: Mapping[str, Any] = stage.identity
    directory = stage.directory.resolve()
    try:
        if start is None:
            return PolicyNode(base_policy("M0", directory, identity["settings"], ""), stage.ref)
        if stage.ref.stage == names.MERGED:
            return PolicyNode(merged_policy("M0", directory), stage.ref)
        if stage.ref.stage == names.SFT:
            return PolicyNode(trained_policy("M0", directory, start), stage.ref)
        policy = trained_policy(f"M{identity['args'][0]}", directory, start)
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(
            f"{stage.directory}: holds no policy that this version reads "
            f"({type(error).__name__}: {error})"
        ) from error
    return PolicyNode(policy, stage.ref, parent_of(stage, names.PAIRS))
