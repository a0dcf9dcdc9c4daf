"""Every finished stage against what it recorded: its files, and the results it was made from.

Nothing is repaired.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from iterdpo.store.hashing import file_sha256, sha256_of
from iterdpo.store.identity import Ref
from iterdpo.store.inventory import Finished, Inventory
from iterdpo.store.manifest import MANIFEST


@dataclass(frozen=True, slots=True)
class Problem:
    """A file that is not what its stage wrote, or what else a stage does not agree with."""

    ref: Ref
    file: str
    """Name relative to the stage's directory."""
    what: str


def files_to_check(inventory: Inventory) -> int:
    """Return how many items ``problems`` yields: a file each, and one a stage for the rest."""
    return sum(
        1 + len(item.manifest.files if item.manifest else ())
        for item in inventory.finished.values()
    )


def problems(inventory: Inventory) -> Iterator[list[Problem]]:
    """Yield, file by file and then for each stage as a whole, what is wrong with it."""
    results = {
        ref: item.manifest.result_sha256
        for ref, item in inventory.finished.items()
        if item.manifest
    }
    for item in inventory.finished.values():
        for name, expected in item.manifest.files.items() if item.manifest else ():
            what = _wrong_file(item.directory / name, expected)
            # A stage that was removed meanwhile is not damaged.
            yield [Problem(item.ref, name, what)] if what and item.directory.is_dir() else []
        yield [Problem(item.ref, *wrong) for wrong in _wrong_stage(item, results)]


def _wrong_file(path: Path, expected: str) -> str:
    try:
        if not path.is_file():
            return "is missing"
        return "" if file_sha256(path) == expected else "differs from what was written"
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def _wrong_stage(item: Finished, results: Mapping[Ref, str]) -> Iterator[tuple[str, str]]:
    """Yield (file, what is wrong) of the manifest, and of files that it does not name."""
    if item.manifest is None:
        yield MANIFEST, item.problem.removeprefix(f"{MANIFEST} ")
        return
    identity = item.manifest.identity
    if item.manifest.key != item.ref.key or sha256_of(identity) != item.ref.key:
        yield MANIFEST, "is of another key: its identity does not hash to the directory's name"
    elif identity["stage"] != item.ref.stage:
        yield MANIFEST, f"is of another stage: {identity['stage']}"
    if problem := item.manifest.parents_problem(results):
        yield MANIFEST, problem
    for name in sorted(_names(item.directory) - {MANIFEST, *item.manifest.files}):
        yield name, "is not one of its files"


def _names(directory: Path) -> set[str]:
    found = set()
    for place, directories, files in os.walk(directory):
        links = [name for name in directories if (Path(place) / name).is_symlink()]
        found |= {(Path(place) / name).relative_to(directory).as_posix()
                  for name in [*files, *links]}  # fmt: skip
    return found
