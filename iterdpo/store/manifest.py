"""``stage.json``: what a finished stage records, and whether that still holds.

It may come from a store of another version, and any file of a store may be damaged.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from iterdpo.errors import UserError
from iterdpo.store.hashing import JSON, HashFile, file_sha256, hashes_of, sha256_of
from iterdpo.store.identity import Identity, Ref, parents

Kinds = Mapping[str, type | tuple[type, ...]]

MANIFEST = "stage.json"

_FIELDS: Kinds = {
    "key": str,
    "identity": dict,
    "parents": dict,
    "metrics": dict,
    "files": dict,
    "seconds": (int, float),
    "versions": dict,
    "checksum": str,
}
_IDENTITY_FIELDS: Kinds = {
    "stage": str,
    "version": int,
    "settings": dict,
    "args": list,
    "kwargs": dict,
}


class ManifestError(UserError):
    """A ``stage.json`` that cannot be read, or not by this version. The text names no path."""


class CorruptStageError(UserError):
    """A stored file is not what its stage wrote."""


@dataclass(frozen=True)
class Manifest:
    """What a ``stage.json`` says."""

    key: str
    identity: Identity
    parents: Mapping[str, str]
    """``result_sha256`` of every stage that it was made from, by ``<stage>/<key>``."""
    metrics: Mapping[str, JSON]
    files: Mapping[str, str]
    """sha256 by name, relative to the stage's directory."""
    seconds: float
    versions: Mapping[str, str]
    checksum: str
    """sha256 over all the rest."""
    peak_memory: Mapping[str, int | None]
    """Bytes of ``ram`` and ``gpu``; empty where they were not measured."""

    @cached_property
    def result_sha256(self) -> str:
        """What whoever is made from the stage depends on.

        Not its files alone: a policy is an adapter and, by its parents, the base below it.
        """
        return sha256_of({"files": self.files, "parents": self.parents})

    def parents_problem(self, results: Mapping[Ref, str]) -> str:
        """Say what is wrong with what the stage was made from; nothing where all is well.

        Args:
            results: ``result_sha256`` of its parents as they are now; one that is left out, or
                empty, is not known and not compared.
        """
        for ref in parents(self.identity):
            if (recorded := self.parents.get(str(ref))) is None:
                return f"does not record of which result of {ref.short} it was made"
            if results.get(ref, recorded) not in ("", recorded):
                return f"was made from another result of {ref.short} than there is now"
        return ""


def manifest_text(values: Mapping[str, object]) -> str:
    """Return the ``stage.json`` of these values, with the checksum over them."""
    text = json.dumps({**values, "checksum": _checksum(values)}, indent=1, sort_keys=True)
    return f"{text}\n"


def read_manifest(directory: Path) -> Manifest:
    """Read a finished stage's ``stage.json``. Fields that are not known here are left out.

    Raises:
        ManifestError: it is missing, damaged, or lacks what this version needs.
    """
    try:
        values: Any = json.loads((directory / MANIFEST).read_text("utf-8"))
        checksum = _checksum(values) if isinstance(values, dict) else ""
    except OSError as error:
        raise ManifestError(f"{MANIFEST} cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{MANIFEST} is not JSON") from error
    if wrong := _wrong(values):
        raise ManifestError(
            f"{MANIFEST} has no usable {', '.join(wrong)}: damaged, or of another version"
        )
    if values["checksum"] != checksum:
        raise ManifestError(f"{MANIFEST} is not what its stage wrote (its checksum differs)")
    known = {name: values[name] for name in _FIELDS}
    peak = values.get("peak_memory")  # absent where nobody measured
    return Manifest(**known, peak_memory=peak if isinstance(peak, dict) else {})


def verify(directory: Path, *, weights: bool = True, hash_file: HashFile = file_sha256) -> Manifest:
    """Compare every file of a finished stage with the hash recorded for it.

    Args:
        directory: the stage's.
        weights: false only looks whether weights are there: they may be gigabytes.
        hash_file: how to come by a file's hash.

    Raises:
        CorruptStageError: naming the file that is missing, different or unreadable.
        PermissionError: a file is there and somebody else's.
    """
    try:
        manifest = read_manifest(directory)
    except ManifestError as error:
        if isinstance(error.__cause__, PermissionError):
            raise error.__cause__ from None
        raise CorruptStageError(f"{directory}/{error}") from error
    for name in manifest.files:
        if not (directory / name).is_file():
            raise CorruptStageError(f"{directory / name} is missing from a finished stage")
    names = [name for name in manifest.files if weights or not name.endswith(".safetensors")]
    hashes = hashes_of([directory / name for name in names], hash_file)
    for name in names:
        try:
            differs = next(hashes) != manifest.files[name]
        except PermissionError:
            raise
        except OSError as error:
            path = directory / name
            raise CorruptStageError(f"{path} cannot be read ({error.strerror})") from error
        if differs:
            path = directory / name
            raise CorruptStageError(f"{path} is not what its stage wrote (sha256 differs)")
    return manifest


def current_results(root: Path, manifest: Manifest) -> dict[Ref, str]:
    """Return ``result_sha256`` of a stage's parents as the store at ``root`` has them now.

    One that is not there, or cannot be read, is left out.
    """
    found = {}
    for ref in parents(manifest.identity):
        with suppress(ManifestError):
            found[ref] = read_manifest(root / ref.stage / ref.key).result_sha256
    return found


def _checksum(values: Mapping[str, object]) -> str:
    return sha256_of({name: value for name, value in values.items() if name != "checksum"})


def _wrong(values: object) -> list[str]:
    wrong = _unusable(values, _FIELDS)
    if isinstance(values, dict):
        if "identity" not in wrong:
            inner = _unusable(values["identity"], _IDENTITY_FIELDS)
            wrong += [f"identity.{name}" for name in inner]
        for name in ("files", "parents", "versions"):
            if name not in wrong and not all(isinstance(v, str) for v in values[name].values()):
                wrong.append(name)
    return wrong


def _unusable(values: object, kinds: Kinds) -> list[str]:
    if not isinstance(values, dict):
        return list(kinds)
    return [name for name, kind in kinds.items() if not isinstance(values.get(name), kind)]
