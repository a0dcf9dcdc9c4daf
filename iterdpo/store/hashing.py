"""Hashes that name what the store holds."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, is_dataclass
from enum import Enum
from pathlib import Path

JSON = None | bool | int | float | str | list["JSON"] | dict[str, "JSON"]

HashFile = Callable[[Path], str]
"""Returns the sha256 (64 hex digits) of a file's bytes."""

_CHUNK = 1 << 20
_THREADS = 8


def plain(value: object) -> JSON:
    """Return ``value`` as plain JSON data.

    Raises:
        TypeError: the value has no single JSON form (a set, an object, a non-string key).
        ValueError: a float is not finite.
    """
    if isinstance(value, Enum):
        return plain(value.value)
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} has no JSON form")
        return value
    if isinstance(value, Path):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise TypeError(f"every key must be a string: {list(value)}")
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    raise TypeError(f"{type(value).__name__} has no JSON form")


def canonical_json(value: object) -> str:
    """Return the one JSON text of ``value``: sorted keys, no spaces, ASCII."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def sha256_of(value: object) -> str:
    """Return the sha256 (64 hex digits) of the canonical JSON of ``value``."""
    return hashlib.sha256(canonical_json(value).encode("ascii")).hexdigest()


def file_sha256(path: Path) -> str:
    """Return the sha256 (64 hex digits) of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def hashes_of(files: Sequence[Path], hash_file: HashFile = file_sha256) -> Iterator[str]:
    """Yield the sha256 of each file, in their order; several are read at a time.

    Args:
        files: to be read.
        hash_file: how to come by the hash of one, in any thread. hashlib computes beside Python.
    """
    if len(files) < 2:
        yield from map(hash_file, files)
        return
    with ThreadPoolExecutor(min(len(files), _THREADS)) as pool:
        try:
            yield from pool.map(hash_file, files)
        finally:
            pool.shutdown(cancel_futures=True)


def files_sha256(root: Path, files: Iterable[Path], hash_file: HashFile = file_sha256) -> str:
    """Return one sha256 over the relative names and contents of ``files`` below ``root``."""
    paths = list(files)
    names = [path.relative_to(root).as_posix() for path in paths]
    return sha256_of(dict(zip(names, hashes_of(paths, hash_file), strict=True)))


def derive_seed(root: int, *names: object) -> int:
    """Return a seed in [0, 2**31) that depends on ``root`` and every name, and on nothing else."""
    digest = hashlib.sha256(canonical_json([root, *names]).encode("ascii")).digest()
    return int.from_bytes(digest[:4], "big") >> 1
