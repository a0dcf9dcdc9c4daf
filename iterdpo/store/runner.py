"""Stages of the loop: each is computed once for its key and kept.

A stage's key is the sha256 of the canonical JSON of its name, its version, its settings and its
arguments; an argument that is itself a stored result counts by its key. So keys depend on nothing
that was computed, and a changed setting branches at the first stage that it touches. A result is
a directory ``<root>/<stage>/<key>/`` that exists only when complete; its ``stage.json`` holds the
key, the hash of every file, the results that it was made from, the seconds and memory it took and
the versions of the libraries.

A key does not say which bytes came out: on a GPU a damaged result, computed again, may be another.
So a result is read only where its files are what was written and its parents are still those that
it was made from; else it is set aside and computed again, and so are those made from it.

What a killed stage had finished lies in ``<root>/<stage>/.work-<key>/`` until the stage is, below
a name that its parents' results decide. Several processes may share a store: one computes a key,
the others wait for its lock and then read.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from iterdpo.errors import UserError
from iterdpo.runtime.signals import StopRequest
from iterdpo.store.atomic import (
    disk_errors_named,
    published_directory,
    remove_all_but_damaged,
    remove_partial,
    set_aside,
    write_text,
)
from iterdpo.store.hash_cache import HashCache
from iterdpo.store.hashing import JSON, hashes_of, plain, sha256_of
from iterdpo.store.locks import Holder, locked
from iterdpo.store.manifest import (
    MANIFEST,
    CorruptStageError,
    Manifest,
    ManifestError,
    manifest_text,
    read_manifest,
    verify,
)
from iterdpo.store.peak_memory import memory_watched
from iterdpo.store.registry import RegisteredRun
from iterdpo.store.stage import (
    Stage,
    Stored,
    Work,
    inputs_sha256,
    parent_results,
    stage_identity,
    stored_in,
)

log = logging.getLogger(__name__)

LOCKS_DIR = ".locks"

P = ParamSpec("P")
Result = TypeVar("Result")


@dataclass
class Stages:
    """Runs stages against one store."""

    root: Path
    versions: Mapping[str, str] = field(default_factory=dict)
    on_stage: Callable[[Stored[Any]], None] | None = None
    """Called with every result, computed or read, in order."""
    registered: RegisteredRun | None = None
    """The run's entry in the store, which lists what it uses."""
    stop: StopRequest = field(default_factory=StopRequest)
    """Checked between stages and where a stage allows it."""
    used: dict[str, Path] = field(default_factory=dict)
    """Every result this run asked for, by ``<stage>/<key>``: the run's roots in the store."""
    handed_out: list[Stored[Any]] = field(default_factory=list)
    """Every result as it was given to the caller, for ``forget``."""

    def run(self, stage: Stage[P, Result], /, *args: P.args, **kwargs: P.kwargs) -> Stored[Result]:
        """Return the stored result of ``stage`` for its inputs, computing it if it is not there.

        A result with a damaged file, or made from other results than the parents are now, is
        named, set aside and computed again.

        Args:
            stage: what to run.
            args: earlier results (``Stored``), plain JSON values, or lists, mappings and
                dataclasses of both; all of them enter the key.
            kwargs: likewise, entering the key by name.

        Raises:
            UserError: the store cannot be read or written to, the disk is full, or a parent is no
                longer the result that was read.
        """
        self.stop.check()
        identity = stage_identity(stage, *args, **kwargs)
        key = sha256_of(identity)
        stored = Stored(stage, key, self.root / stage.name / key, args, kwargs)
        # Before it is there: what a killed run has begun is no garbage.
        self.used[str(stored.ref)] = stored.directory
        with disk_errors_named(stored.directory.parent):
            if self.registered:
                self.registered.uses(self.used)
            manifest, computed = self._intact(stored), False
            # After a kill between the two, a finished stage may have its unfinished work beside it.
            if manifest is None or _work(stored.directory).exists():
                lock = self.root / LOCKS_DIR / f"{stage.name}-{key}"
                with locked(lock, waiting=_say(stage.name), check=self.stop.check):
                    # Another process may have finished it while this one waited.
                    manifest = self._intact(stored, move=True)
                    if computed := manifest is None:
                        manifest = self._compute(stored, identity)
                    remove_all_but_damaged(_work(stored.directory))
        stored = replace(stored, result_sha256=manifest.result_sha256, computed=computed)
        if self.on_stage:
            self.on_stage(stored)
        self.handed_out.append(stored)
        return stored

    def forget(self) -> None:
        """Let every result go of what it has loaded.

        Results lead to what they were made from, so that the last policy alone would hold every
        iteration; one of 40,000 answers of 1,000 tokens takes about a gigabyte.
        """
        for stored in self.handed_out:
            stored.forget()

    def _intact(self, stored: Stored[Any], move: bool = False) -> Manifest | None:
        """Return the manifest of a stage that may be read: finished, undamaged, of these parents.

        With ``move``, one that may not be read is set aside.
        """
        directory = stored.directory
        if not os.path.lexists(directory):
            return None
        try:
            manifest = verify(directory, hash_file=HashCache(self.root).file_sha256)
            problem = manifest.parents_problem(parent_results(stored))
            if not problem:
                return manifest
            problem = f"{directory} {problem}"
        except CorruptStageError as error:
            problem = str(error)
        if move:
            _require_current(stored)
            log.warning("%s; set aside as %s, computed again", problem, set_aside(directory).name)
        return None

    def _compute(self, stored: Stored[Any], identity: Mapping[str, JSON]) -> Manifest:
        remove_partial(stored.directory)
        results = parent_results(stored)
        bound = inputs_sha256(stored.key, results)
        kept = _work(stored.directory) / bound
        if remove_all_but_damaged(kept.parent, keep=kept):
            log.warning(
                "%s: unfinished work of other results than there are now was removed",
                kept.parent,
            )
        with published_directory(stored.directory) as directory:
            began = time.monotonic()
            work = Work(directory, kept, bound, self.stop)
            with memory_watched() as peak:
                metrics = plain(stored.stage.compute(work, *stored.args, **stored.kwargs))
            _require_current(stored)
            manifest = {
                "key": stored.key,
                "identity": identity,
                "parents": {str(ref): result for ref, result in results.items()},
                "metrics": metrics,
                "files": _file_hashes(directory),
                "seconds": round(time.monotonic() - began, 3),
                "peak_memory": peak.as_json(),
                "versions": dict(self.versions),
            }
            write_text(directory / MANIFEST, manifest_text(manifest))
        return read_manifest(stored.directory)


def _file_hashes(directory: Path) -> dict[str, str]:
    """Return the sha256 of every file below a directory, by its name relative to that."""
    files = [path for path in sorted(directory.rglob("*")) if path.is_file()]
    names = [path.relative_to(directory).as_posix() for path in files]
    return dict(zip(names, hashes_of(files), strict=True))


def _work(directory: Path) -> Path:
    """Return where an unfinished stage keeps what it has, beside its final place."""
    return directory.parent / f".work-{directory.name}"


def _require_current(stored: Stored[Any]) -> None:
    """Raise ``UserError`` where a parent is no longer the result that this run has read.

    What is made from the one would be noted, or taken, for what was made from the other.
    """
    for parent in stored_in((stored.args, stored.kwargs)):
        try:
            now = read_manifest(parent.directory).result_sha256
        except ManifestError:
            now = ""
        if now != parent.result_sha256:
            raise UserError(
                f"{parent.directory}: is no longer the result that this run has read (damaged, or "
                "computed again by another run); run the same command again"
            )


def _say(name: str) -> Callable[[Holder], None]:
    def say(holder: Holder) -> None:
        log.info("%s: %s computes it; waiting", name, holder)

    return say
