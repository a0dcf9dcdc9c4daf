"""What a stage is, where it computes, and its result; what of these makes a key."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, ParamSpec, Protocol, TypeVar

from iterdpo.runtime.signals import StopRequest
from iterdpo.store.hashing import JSON, plain, sha256_of
from iterdpo.store.identity import Ref
from iterdpo.store.manifest import MANIFEST
from iterdpo.store.shards import Shards

SHARDS_DIR = "shards"

P = ParamSpec("P")
Record = TypeVar("Record")
Result = TypeVar("Result")
Result_co = TypeVar("Result_co", covariant=True)


@dataclass(frozen=True)
class Work:
    """Where a stage computes, and what it may leave for the next try."""

    directory: Path
    """What is written here becomes the result when ``compute`` ends without an error."""
    kept: Path
    """Not made yet; what a stage puts here survives a kill, until the stage is finished or a parent
    turns into another result."""
    inputs_sha256: str
    """Of the key and the parents' results: what unfinished work holds for."""
    stop: StopRequest = field(default_factory=StopRequest)
    """To be checked where nothing is lost by stopping."""

    def shards(self, record: type[Record], items: int, shard_items: int) -> Shards[Record]:
        """Open the stage's finished shards: see ``Shards``."""
        return Shards(self.kept / SHARDS_DIR, record, self.inputs_sha256, items, shard_items)


class Stage(Protocol[P, Result_co]):
    """One stage of the loop. It says what it needs; the store says when it runs.

    ``P`` are the parameters of ``compute`` behind its ``work``, and a type checker holds every call
    of ``Stages.run`` against them: ``Stage[[Stored[str]], int]`` makes a number of a stored text.
    """

    @property
    def name(self) -> str:
        """The folder of its results."""

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
    result_sha256: str = ""
    """``Manifest.result_sha256`` when it was computed or verified; empty before that."""
    computed: bool = False
    """Whether this very call computed it."""

    @property
    def ref(self) -> Ref:
        return Ref(self.stage.name, self.key)

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
    if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
        return {name: _input(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_input(item) for item in value]
    return plain(value)


def parent_results(stored: Stored[Any]) -> dict[Ref, str]:
    """Return ``result_sha256`` of every result that ``stored`` is made from, however deep."""
    found = stored_in((stored.args, stored.kwargs))
    return {parent.ref: parent.result_sha256 for parent in found}


def inputs_sha256(key: str, results: Mapping[Ref, str]) -> str:
    """Return what unfinished work of a key holds for, when its parents have these results."""
    return sha256_of([key, {str(ref): result for ref, result in results.items()}])


def stored_in(value: object) -> Iterator[Stored[Any]]:
    """Yield every result in an argument, however deep."""
    if isinstance(value, Stored):
        yield value
    elif is_dataclass(value) and not isinstance(value, type):
        for item in fields(value):
            yield from stored_in(getattr(value, item.name))
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from stored_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from stored_in(item)
