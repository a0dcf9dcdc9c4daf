"""What a store no longer needs, and its removal.

A finished stage is needed as long as a registered run asked for it, or for a stage that was made
from it. Unfinished work is needed as long as a registered run asked for its stage. A run counts as
long as its directory exists. Where it does not, nobody knows whether the directory was deleted or
renamed, or is not there from this machine: what the run used goes only when asked for.

A run that starts meanwhile is safe if it registers a stage before it looks for it: a stage is
renamed away, the registrations are read once more, and only then it goes.
"""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from iterdpo.errors import UserError
from iterdpo.store.atomic import PARTIAL_PREFIX
from iterdpo.store.identity import Ref
from iterdpo.store.inventory import Inventory
from iterdpo.store.locks import HeldError, locked, refuse
from iterdpo.store.registry import RUNS_DIR
from iterdpo.store.run_roots import RunRoot, read_run_roots
from iterdpo.store.runner import LOCKS_DIR

DAY = 86_400.0
"""In seconds."""
SETTLED = 3_600.0
"""Seconds after which a write without a lock is taken for dead."""

_NEEDED = "a run needs it by now"


@dataclass(frozen=True, slots=True)
class Garbage:
    """Something that may go, or that stays for a reason."""

    path: Path
    stage: str
    """Empty for what belongs to no stage."""
    key: str
    """The stage's key, the first 12 digits of it, or nothing where the name does not tell."""
    size: int
    """In bytes."""
    when: float
    """When it was last written, in seconds since the epoch."""
    reason: str
    """Why it may go; of what stays, why it stays."""
    for_runs: bool = False
    """Whether a run that asks for its stage would use it."""
    of_gone_run: bool = False
    """Whether a run used it whose directory is no longer there."""

    def but(self, reason: str) -> Garbage:
        """Return it with another reason."""
        return replace(self, reason=reason)


@dataclass(frozen=True, slots=True)
class Sorted:
    """What of a store may go and what stays although no run needs it."""

    garbage: tuple[Garbage, ...]
    """In the order in which to delete: what was made from a stage goes before it."""
    kept: tuple[Garbage, ...]


def find_garbage(
    inventory: Inventory,
    *,
    older_than_days: float = 0.0,
    corrupt: bool = False,
    gone: bool = False,
    now: float | None = None,
) -> Sorted:
    """Sort what no registered run needs into what may go and what stays.

    Args:
        inventory: the store.
        older_than_days: what was written less than so many days ago stays, 0 or more.
        corrupt: whether files that were set aside as damaged may go.
        gone: whether what was used by runs whose directories are gone may go.
        now: seconds since the epoch.

    Raises:
        UserError: what the runs need cannot be known, or no run counts.
    """
    needed = _needed(inventory)
    now = time.time() if now is None else now
    garbage: list[Garbage] = []
    kept: list[Garbage] = []
    damaged = {left.path for left in inventory.leftovers if left.kind == "damaged" and not corrupt}
    for item in _unneeded(inventory, needed):
        if item.of_gone_run and not gone:
            kept.append(item.but(f"{item.reason}; if it was not moved, --gone deletes this"))
        elif reason := _reason_to_stay(item, now - item.when, older_than_days, damaged):
            kept.append(item.but(reason))
        else:
            garbage.append(item)
    garbage.sort(key=lambda item: (-item.when, item.path))
    return Sorted(tuple(garbage), tuple(kept))


def delete(root: Path, item: Garbage) -> str | None:
    """Delete one piece of garbage, under the lock of its stage.

    Returns:
        None when it is gone, else why it was left: it is in use, or a run needs it by now.

    Raises:
        UserError: it cannot be deleted.
    """
    try:
        with _unused(root, item):
            return _delete(root, item)
    except HeldError as error:
        return str(error)
    except OSError as error:
        raise UserError(f"{item.path}: cannot be deleted ({error.strerror})") from error


def in_use(root: Path, item: Garbage) -> str | None:
    """Return who holds the lock of its stage, or None. For a dry run: it makes no lock file."""
    try:
        with _unused(root, item, make=False):
            return None
    except HeldError as error:
        return str(error)
    except UserError:  # a lock that cannot be opened; deleting says so
        return None


def _needed(inventory: Inventory) -> set[Ref]:
    """Return every stage that a run which counts asked for, and all that those were made from."""
    for run in inventory.runs:
        if run.problem:
            raise UserError(
                f"{run.problem}, so what it uses is unknown and nothing is deleted; remove this "
                "file if the run no longer counts"
            )
    counting = [run for run in inventory.runs if run.exists]
    if not counting:
        reason = "no run is registered"
        if inventory.runs:
            last = inventory.runs[-1].directory
            reason = f"the directory of every registered run is gone, the last one {last}"
        raise UserError(
            f"{inventory.root / RUNS_DIR}: {reason}; everything would count as garbage, so nothing "
            f"is deleted; if that is meant, delete {inventory.root} itself"
        )
    needed = inventory.closure(ref for run in counting for ref in run.stages)
    for ref in sorted(needed & inventory.finished.keys()):
        if problem := inventory.finished[ref].problem:
            raise UserError(
                f"{inventory.finished[ref].directory}: {problem}; a run needs this stage, and what "
                "it was made from is unknown, so nothing is deleted"
            )
    return needed


def _unneeded(inventory: Inventory, needed: set[Ref]) -> Iterator[Garbage]:
    gone = _gone_users(inventory)
    for ref, stage in inventory.finished.items():
        if ref not in needed:
            reason = _nobody("no registered run uses it", gone.get(ref))
            if stage.problem:
                reason += f"; {stage.problem}"
            yield Garbage(stage.directory, *ref, stage.size, stage.when, reason, True, ref in gone)
    for item in inventory.leftovers:
        ref = Ref(item.stage, item.key)
        if item.kind == "partial":
            reason = "left by a write that was killed"
        elif item.kind == "damaged":
            reason = "was set aside as damaged"
        elif ref in inventory.finished:
            reason = "its stage is finished"
        elif ref not in needed:
            reason = _nobody("unfinished, and no registered run asks for it", gone.get(ref))
        else:
            continue
        awaited = item.kind == "unfinished" and ref not in inventory.finished
        yield Garbage(
            item.path, item.stage, item.key, item.size, item.when, reason, awaited,
            awaited and ref in gone,
        )  # fmt: skip


def _gone_users(inventory: Inventory) -> Mapping[Ref, RunRoot]:
    gone = [run for run in inventory.runs if not run.exists]
    return {ref: run for run in gone for ref in inventory.closure(run.stages)}


def _nobody(otherwise: str, gone: RunRoot | None) -> str:
    return f"its run's directory is gone: {gone.directory}" if gone else otherwise


def _reason_to_stay(item: Garbage, age: float, older_than_days: float, damaged: set[Path]) -> str:
    """``damaged`` is what was set aside and must stay."""
    if item.path in damaged:
        return "set aside as damaged; --corrupt deletes it"
    if any(item.path in path.parents for path in damaged):
        return "holds what was set aside as damaged; --corrupt deletes both"
    if older_than_days and age < older_than_days * DAY:
        return f"younger than {older_than_days:g} days"
    if not item.key and age < SETTLED:
        return "may still be being written"
    return ""


@contextmanager
def _unused(root: Path, item: Garbage, make: bool = True) -> Iterator[None]:
    """Hold the lock of the item's stage. Of a key's beginning, the locks that there are."""
    full = len(item.key) == 64
    if full and make:
        paths = [root / LOCKS_DIR / f"{item.stage}-{item.key}"]
    elif item.key:
        # Whoever computes has made the lock's file before it writes anything.
        paths = sorted((root / LOCKS_DIR).glob(f"{item.stage}-{item.key}*"))
    else:
        paths = []
    with ExitStack() as locks:
        for path in paths:
            locks.enter_context(locked(path, waiting=refuse, poll_seconds=0.05))
        yield


def _delete(root: Path, item: Garbage) -> str | None:
    path = item.path
    if _needed_since(root, item):
        return _NEEDED
    # Renamed first: a stage must never be seen with some of its files.
    away = path.with_name(f"{PARTIAL_PREFIX}{item.key[:12]}-{secrets.token_hex(4)}")
    try:
        path.rename(away)
    except FileNotFoundError:  # whoever held the lock has removed it
        return None
    if _needed_since(root, item):
        away.rename(path)
        return _NEEDED
    if away.is_dir() and not away.is_symlink():
        shutil.rmtree(away)
    else:
        away.unlink()
    return None


def _needed_since(root: Path, item: Garbage) -> bool:
    ref = Ref(item.stage, item.key)
    return item.for_runs and any(ref in run.stages and run.exists for run in read_run_roots(root))
