"""``stage.json`` as it is read back, possibly from a store of another version."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iterdpo.errors import UserError
from iterdpo.store.hashing import JSON
from iterdpo.store.identity import Identity
from iterdpo.store.runner import MANIFEST

Kinds = Mapping[str, type | tuple[type, ...]]

_FIELDS: Kinds = {
    "key": str,
    "identity": dict,
    "metrics": dict,
    "files": dict,
    "seconds": (int, float),
    "versions": dict,
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


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a ``stage.json`` says."""

    key: str
    identity: Identity
    metrics: Mapping[str, JSON]
    files: Mapping[str, str]
    """sha256 by name, relative to the stage's directory."""
    seconds: float
    versions: Mapping[str, str]
    peak_memory: Mapping[str, int | None]
    """Bytes of ``ram`` and ``gpu``; empty where they were not measured."""


def read_manifest(directory: Path) -> Manifest:
    """Read a finished stage's ``stage.json``. Fields that are not known here are left out.

    Raises:
        ManifestError: it is missing, damaged, or lacks what this version needs.
    """
    try:
        values: Any = json.loads((directory / MANIFEST).read_text("utf-8"))
    except OSError as error:
        raise ManifestError(f"{MANIFEST} cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise ManifestError(f"{MANIFEST} is not JSON") from error
    if wrong := _wrong(values):
        raise ManifestError(
            f"{MANIFEST} has no usable {', '.join(wrong)}: damaged, or of another version"
        )
    known = {name: values[name] for name in _FIELDS}
    peaks = values.get("peak_memory")  # stores of earlier versions have none
    return Manifest(**known, peak_memory=peaks if isinstance(peaks, dict) else {})


def _wrong(values: object) -> list[str]:
    wrong = _unusable(values, _FIELDS)
    if isinstance(values, dict):
        if "identity" not in wrong:
            inner = _unusable(values["identity"], _IDENTITY_FIELDS)
            wrong += [f"identity.{name}" for name in inner]
        for name in ("files", "versions"):
            if name not in wrong and not all(isinstance(v, str) for v in values[name].values()):
                wrong.append(name)
    return wrong


def _unusable(values: object, kinds: Kinds) -> list[str]:
    if not isinstance(values, dict):
        return list(kinds)
    return [name for name, kind in kinds.items() if not isinstance(values.get(name), kind)]
