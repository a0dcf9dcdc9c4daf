"""Stages: the steps of the loop, each computed once for its key and kept.

A stage's key is the sha256 of the canonical JSON of its name, its version, its settings and its
arguments; an argument that is itself a stored result counts by its key. So keys depend on nothing
that was computed, and a changed setting branches at the first stage that it touches. A result is
a directory ``<root>/<stage>/<key>/`` that exists only when complete; its ``stage.json`` holds the
key, the parents, the hash of every file, the seconds it took and the versions of the libraries.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from iterdpo.errors import UserError
from iterdpo.store.atomic import published_directory, write_text
from iterdpo.store.hashing import JSON, file_sha256, plain, sha256_of

MANIFEST = "stage.json"

Result = TypeVar("Result")
Result_co = TypeVar("Result_co", covariant=True)


class CorruptStageError(UserError):
    """A stored file is not what its stage wrote."""


class Stage(Protocol[Result_co]):
    """One step of the loop. Subclasses say what they need; the store says when it runs."""

    @property
    def name(self) -> str:
        """Which step this is: the folder of its results."""

    @property
    def version(self) -> int:
        """Raised when the same settings and parents would give another result than before."""

    @property
    def settings(self) -> Mapping[str, object]:
        """Everything of the configuration that may change the result, and nothing else."""

    def compute(self, work: Path, /, *args: Any, **kwargs: Any) -> Mapping[str, object]:
        """Write the result's files into ``work`` and return the metrics for ``stage.json``."""

    def load(self, directory: Path, /, *args: Any, **kwargs: Any) -> Result_co:
        """Read the result back from a finished directory; ``args`` are those of ``compute``."""


@dataclass(frozen=True)
class Stored(Generic[Result]):
    """The result of a stage, in the store. Loaded when asked for, and only once."""

    stage: Stage[Result]
    key: str
    directory: Path
    args: tuple[Any, ...]

    @cached_property
    def value(self) -> Result:
        return self.stage.load(self.directory, *self.args)

    @cached_property
    def manifest(self) -> Mapping[str, JSON]:
        manifest: dict[str, JSON] = json.loads((self.directory / MANIFEST).read_text("utf-8"))
        return manifest

    @property
    def metrics(self) -> dict[str, JSON]:
        metrics = self.manifest["metrics"]
        assert isinstance(metrics, dict)
        return metrics


@dataclass
class Stages:
    """Runs stages against one store."""

    root: Path
    versions: Mapping[str, str] = field(default_factory=dict)
    on_stage: Callable[[Stored[Any]], None] | None = None
    """Called with every result, computed or read, in order."""
    used: dict[str, Path] = field(default_factory=dict)
    """Every result this run asked for, by ``<stage>/<key>``: the run's roots in the store."""

    def run(self, stage: Stage[Result], *args: object) -> Stored[Result]:
        """Return the stored result of ``stage`` for ``args``, computing it if it is not there.

        Args:
            stage: what to run.
            args: earlier results (``Stored``) or plain JSON values; all of them enter the key.

        Raises:
            CorruptStageError: a stored file's hash is not the one that was recorded.
        """
        identity = stage_identity(stage, args)
        key = sha256_of(identity)
        stored = Stored(stage, key, self.root / stage.name / key, args)
        if stored.directory.is_dir():
            verify(stored.directory)
        else:
            self._compute(stored, identity, args)
        self.used[f"{stage.name}/{stored.key}"] = stored.directory
        if self.on_stage:
            self.on_stage(stored)
        return stored

    def _compute(
        self, stored: Stored[Result], identity: Mapping[str, JSON], args: tuple[object, ...]
    ) -> None:
        with published_directory(stored.directory) as work:
            began = time.monotonic()
            metrics = plain(stored.stage.compute(work, *args))
            manifest = {
                "key": stored.key,
                "identity": identity,
                "metrics": metrics,
                "files": {
                    path.relative_to(work).as_posix(): file_sha256(path)
                    for path in sorted(work.rglob("*"))
                    if path.is_file()
                },
                "seconds": round(time.monotonic() - began, 3),
                "versions": dict(self.versions),
            }
            write_text(work / MANIFEST, json.dumps(manifest, indent=1, sort_keys=True) + "\n")


def stage_identity(stage: Stage[Result], args: tuple[object, ...]) -> dict[str, JSON]:
    """Return everything that a stage's key is made of, as plain data."""
    return {
        "stage": stage.name,
        "version": stage.version,
        "settings": plain(dict(stage.settings)),
        "args": [
            {"stage": arg.stage.name, "key": arg.key} if isinstance(arg, Stored) else plain(arg)
            for arg in args
        ],
    }


def verify(directory: Path) -> None:
    """Compare every file of a finished stage with the hash recorded for it.

    Raises:
        CorruptStageError: naming the file that is missing or different.
    """
    manifest = json.loads((directory / MANIFEST).read_text("utf-8"))
    for name, expected in manifest["files"].items():
        path = directory / name
        if not path.is_file():
            raise CorruptStageError(
                f"{path} is missing from a finished stage: delete {directory} to have it computed "
                "again"
            )
        if file_sha256(path) != expected:
            raise CorruptStageError(
                f"{path} is not what its stage wrote (sha256 differs): delete {directory} "
                "to have it computed again"
            )
