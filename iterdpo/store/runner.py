"""Stages: the steps of the loop, each computed once for its key and kept.

A stage's key is the sha256 of the canonical JSON of its name, its version, its settings and its
arguments; an argument that is itself a stored result counts by its key. So keys depend on nothing
that was computed, and a changed setting branches at the first stage that it touches. A result is
a directory ``<root>/<stage>/<key>/`` that exists only when complete; its ``stage.json`` holds the
key, the parents, the hash of every file, the seconds and memory it took and the versions of the
libraries.

What a killed stage had finished lies in ``<root>/<stage>/.work-<key>/`` until the stage is. Several
processes may share a store: one computes a key, the others wait for its lock and then read.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, ParamSpec, Protocol, TypeVar

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
from iterdpo.store.hashing import JSON, file_sha256, plain, sha256_of
from iterdpo.store.locks import Holder, locked
from iterdpo.store.peak_memory import memory_watched
from iterdpo.store.registry import RegisteredRun
from iterdpo.store.shards import Parts

log = logging.getLogger(__name__)

MANIFEST = "stage.json"
LOCKS_DIR = ".locks"
PARTS_DIR = "parts"

P = ParamSpec("P")
Record = TypeVar("Record")
Result = TypeVar("Result")
Result_co = TypeVar("Result_co", covariant=True)


class CorruptStageError(UserError):
    """A stored file is not what its stage wrote."""


@dataclass(frozen=True)
class Work:
    """Where a stage computes, and what it may leave for the next try."""

    directory: Path
    """What is written here becomes the result when ``compute`` ends without an error."""
    kept: Path
    """Not made yet; what a stage puts here survives a kill, until the stage is finished."""
    key: str
    stop: StopRequest = field(default_factory=StopRequest)
    """To be checked where nothing is lost by stopping."""

    def parts(self, record: type[Record], units: int, part_units: int) -> Parts[Record]:
        """Open the stage's finished parts: see ``Parts``."""
        return Parts(self.kept / PARTS_DIR, record, self.key, units, part_units)


class Stage(Protocol[P, Result_co]):
    """One stage of the loop. It says what it needs; the store says when it runs.

    ``P`` are the parameters of ``compute`` behind its ``work``, and a type checker holds every call
    of ``Stages.run`` against them: ``Stage[[Stored[str]], int]`` makes a number of a stored text.
    """

    @property
    def name(self) -> str:
        """Which step this is: the folder of its results."""

    @property
    def version(self) -> int:
        """Raised when the same settings and parents would give another result than before."""

    @property
    def settings(self) -> Mapping[str, object]:
        """Everything of the configuration that may change the result, and nothing else."""

    def compute(self, work: Work, /, *args: P.args, **kwargs: P.kwargs) -> Mapping[str, object]:
        """Write the result's files and return the metrics for ``stage.json``."""

    # Not ``P``: most stages take whatever ``compute`` is given and look at none of it.
    def load(self, directory: Path, /, *args: Any, **kwargs: Any) -> Result_co:
        """Read the result back from a finished directory. The arguments are ``compute``'s."""


@dataclass(frozen=True)
class Stored(Generic[Result]):
    """The result of a stage, in the store. Loaded when asked for, and kept until ``forget``."""

    stage: Stage[..., Result]
    key: str
    directory: Path
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    computed: bool = False
    """Whether this very call computed it."""

    @cached_property
    def value(self) -> Result:
        return self.stage.load(self.directory, *self.args, **self.kwargs)

    def forget(self) -> None:
        """Let go of what was loaded; asked for again, it is loaded again."""
        self.__dict__.pop("value", None)

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
    registered: RegisteredRun | None = None
    """The run's entry in the store, which tells what it uses."""
    stop: StopRequest = field(default_factory=StopRequest)
    """Checked between stages and where a stage allows it."""
    used: dict[str, Path] = field(default_factory=dict)
    """Every result this run asked for, by ``<stage>/<key>``: the run's roots in the store."""
    handed_out: list[Stored[Any]] = field(default_factory=list)
    """Every result as it was given to the caller, to be told to forget."""

    def run(self, stage: Stage[P, Result], /, *args: P.args, **kwargs: P.kwargs) -> Stored[Result]:
        """Return the stored result of ``stage`` for its inputs, computing it if it is not there.

        A result with a damaged file is named, set aside and computed again.

        Args:
            stage: what to run.
            args: earlier results (``Stored``), plain JSON values, or lists, mappings and
                dataclasses of both; all of them enter the key.
            kwargs: likewise, entering the key by name.

        Raises:
            UserError: the store cannot be read or written to, or the disk is full.
        """
        self.stop.check()
        identity = stage_identity(stage, *args, **kwargs)
        key = sha256_of(identity)
        stored = Stored(stage, key, self.root / stage.name / key, args, kwargs)
        # Before it is there: what a killed run has begun is no garbage.
        self.used[f"{stage.name}/{stored.key}"] = stored.directory
        with disk_errors_named(stored.directory.parent):
            if self.registered:
                self.registered.uses(self.used)
            # After a kill between the two, a finished stage may have its unfinished work beside it.
            if not _intact(stored.directory) or _kept(stored.directory).exists():
                lock = self.root / LOCKS_DIR / f"{stage.name}-{key}"
                with locked(lock, waiting=_say(stage.name)):
                    # Another process may have finished it while this one waited.
                    if not _intact(stored.directory, move=True):
                        self._compute(stored, identity)
                        stored = replace(stored, computed=True)
                    remove_all_but_damaged(_kept(stored.directory))
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

    def _compute(self, stored: Stored[Any], identity: Mapping[str, JSON]) -> None:
        remove_partial(stored.directory)
        with published_directory(stored.directory) as directory:
            began = time.monotonic()
            work = Work(directory, _kept(stored.directory), stored.key, self.stop)
            with memory_watched() as peaks:
                metrics = plain(stored.stage.compute(work, *stored.args, **stored.kwargs))
            manifest = {
                "key": stored.key,
                "identity": identity,
                "metrics": metrics,
                "files": {
                    path.relative_to(directory).as_posix(): file_sha256(path)
                    for path in sorted(directory.rglob("*"))
                    if path.is_file()
                },
                "seconds": round(time.monotonic() - began, 3),
                "peak_memory": peaks.as_json(),
                "versions": dict(self.versions),
            }
            write_text(directory / MANIFEST, json.dumps(manifest, indent=1, sort_keys=True) + "\n")


def _kept(directory: Path) -> Path:
    """Return where an unfinished stage keeps what it has, beside its final place."""
    return directory.parent / f".work-{directory.name}"


def _intact(directory: Path, move: bool = False) -> bool:
    """Say whether a stage is finished and undamaged; with ``move``, set a damaged one aside."""
    if not directory.is_dir():
        return False
    try:
        verify(directory)
    except CorruptStageError as error:
        if move:
            log.warning("%s; set aside as %s, computed again", error, set_aside(directory).name)
        return False
    return True


def _say(name: str) -> Callable[[Holder], None]:
    def say(holder: Holder) -> None:
        log.info("%s: %s computes it; waiting", name, holder)

    return say


def stage_identity(stage: Stage[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> dict[str, JSON]:
    """Return everything that a stage's key is made of, as plain data."""
    return {
        "stage": stage.name,
        "version": stage.version,
        "settings": plain(dict(stage.settings)),
        "args": [_input(arg) for arg in args],
        "kwargs": {name: _input(arg) for name, arg in sorted(kwargs.items())},
    }


def _input(value: object) -> JSON:
    """Return an argument as plain data: a stored result, however deep in it, by its key."""
    if isinstance(value, Stored):
        return {"stage": value.stage.name, "key": value.key}
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: _input(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): _input(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_input(item) for item in value]
    return plain(value)


def verify(directory: Path, *, weights: bool = True) -> None:
    """Compare every file of a finished stage with the hash recorded for it.

    Args:
        directory: the stage's.
        weights: false leaves out weights, which may be gigabytes.

    Raises:
        CorruptStageError: naming the file that is missing, different or unreadable.
    """
    try:
        files = json.loads((directory / MANIFEST).read_text("utf-8"))["files"].items()
    except (FileNotFoundError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise CorruptStageError(f"{directory / MANIFEST} cannot be read ({error!r})") from error
    for name, expected in files:
        if name.endswith(".safetensors") and not weights:
            continue
        path = directory / name
        if not path.is_file():
            raise CorruptStageError(f"{path} is missing from a finished stage")
        if file_sha256(path) != expected:
            raise CorruptStageError(f"{path} is not what its stage wrote (sha256 differs)")
