"""Why a stored stage was computed instead of read: in what it differs from the nearest one."""

from __future__ import annotations

from dataclasses import dataclass

from iterdpo.store.hashing import sha256_of
from iterdpo.store.identity import Difference, Ref, difference, nearest, parents
from iterdpo.store.inventory import Finished, Inventory, Leftover
from iterdpo.store.manifest import ManifestError, read_manifest


@dataclass(frozen=True, slots=True)
class Explanation:
    """A stage beside the one that it might have been read from."""

    stage: Finished
    nearest: Finished | None
    """None when there is no other stage of its name that can be read."""
    earlier: bool
    """Whether the nearest one was there first. If not, none was."""
    compared: int
    """How many stages the nearest one was chosen from."""
    differences: tuple[Difference, ...]
    versions: tuple[str, ...]
    """Libraries that differ, as ``torch: 2.12.0 -> 2.13.0``. They are no part of a key."""
    set_aside: tuple[str, ...]
    """Why this very stage was set aside before and computed again, a reason each time."""


def explain(inventory: Inventory, stage: Finished) -> Explanation:
    """Compare a stage with the nearest of those that were finished before it, else after it.

    Raises:
        UserError: its ``stage.json`` cannot be read.
    """
    known = inventory.identities()
    others = [
        item
        for item in inventory.finished.values()
        if item.ref.stage == stage.ref.stage and item.ref != stage.ref and item.manifest
    ]
    before = [item for item in others if item.when <= stage.when]
    # Of equally near ones the latest counts: what ran last is what people compare with.
    choice = sorted(before or others, key=lambda item: -item.when)
    found = nearest(stage.identity, [item.identity for item in choice], known)
    other = None if found is None else inventory.finished[Ref(stage.ref.stage, sha256_of(found))]
    return Explanation(
        stage=stage,
        nearest=other,
        earlier=bool(before),
        compared=len(choice),
        differences=tuple(difference(stage.identity, other.identity, known)) if other else (),
        versions=tuple(_versions(stage, other)) if other else (),
        set_aside=tuple(
            _reason(left, stage)
            for left in inventory.leftovers
            if (left.kind, left.stage) == ("damaged", stage.ref.stage)
            and left.path.name.startswith(f"{stage.ref.key}.")
        ),
    )


def _reason(left: Leftover, stage: Finished) -> str:
    """Say why ``left`` was set aside, by what it and the stage in its place were made from."""
    try:
        before = read_manifest(left.path)
    except ManifestError:
        return "was damaged"
    now = {ref: stage.readable().parents.get(str(ref), "") for ref in parents(before.identity)}
    return before.parents_problem(now) or "was damaged"


def _versions(stage: Finished, other: Finished) -> list[str]:
    mine, its = stage.readable().versions, other.readable().versions
    return [
        f"{name}: {its.get(name, '(none)')} -> {mine.get(name, '(none)')}"
        for name in sorted({*mine, *its})
        if mine.get(name) != its.get(name)
    ]
