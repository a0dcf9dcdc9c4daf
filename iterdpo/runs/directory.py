"""A run that was made, read back from its directory: where every tool after the run begins.

``summary.json`` names the stages by ``<stage>/<key>``, and the run directory links to each of
them, so a run is read without its configuration, its store's place or any heavy library.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn, TypeVar, cast

from iterdpo.config.choices import shape
from iterdpo.config.schema import Config
from iterdpo.errors import UserError
from iterdpo.evaluation.summary import ModelSummary, Summary
from iterdpo.evaluation.summary_file import SUMMARY_FILE, read_summary
from iterdpo.models.layout import ADAPTER_DIR, TRAINING_FILE
from iterdpo.records import Candidate, Judgment, Pair, Policy, Prompt
from iterdpo.stages import names
from iterdpo.stages.pairs import DROPPED_FILE
from iterdpo.stages.policies import base_policy, merged_policy, trained_policy
from iterdpo.store.manifest import (
    MANIFEST,
    CorruptStageError,
    Manifest,
    current_results,
    read_manifest,
    verify,
)
from iterdpo.store.tables import RECORDS_FILE, read_records

Record = TypeVar("Record")

CONFIG_FILE = "config.json"
LINKS_DIR = "stages"
KEY_DIGITS = 8
"""How much of a key the name of a link holds."""

_CONFIG_PARTS = ("model", "training", "evaluation", "prompts", "judge", "pairs", "sft")
"""The sections that tools read, whose settings are named one by one where they are missing."""


@dataclass(frozen=True)
class IterationRecords:
    """The records of one iteration."""

    prompts: tuple[Prompt, ...]
    candidates: tuple[Candidate, ...]
    judgments: tuple[Judgment, ...]
    pairs: tuple[Pair, ...]
    dropped: Mapping[str, int]
    """Prospective pairs that were not made, by reason."""
    training: Mapping[str, Any] | None
    """The training's report with its ``history``, an entry a step; None without a pair."""


@dataclass(frozen=True)
class Run:
    """One run, finished or not, as far as it is done."""

    directory: Path
    values: Mapping[str, Any]
    """The resolved configuration as plain values."""
    summary: Summary
    _verified: set[Path] = field(default_factory=set, repr=False, compare=False)

    @classmethod
    def open(cls, directory: Path) -> Run:
        """Read a run's directory.

        Raises:
            UserError: it is none, M0 is not measured yet, or another program wrote its files.
        """
        if not (directory / CONFIG_FILE).is_file():
            raise UserError(f"{directory}: no run there (no {CONFIG_FILE}); name a run's directory")
        if not (directory / SUMMARY_FILE).is_file():
            raise UserError(f"{directory}: nothing is measured yet (no {SUMMARY_FILE}); try later")
        summary = read_summary(directory)  # which tells a version that wrote both otherwise
        values = _settings(directory / CONFIG_FILE, f"iterdpo {summary.iterdpo}")
        return cls(directory, values, summary)

    @property
    def name(self) -> str:
        return self.directory.resolve().name

    @cached_property
    def config(self) -> Config:
        """The configuration that the run was made with.

        Raises:
            UserError: another version of this program wrote it.
        """
        from pydantic import TypeAdapter, ValidationError

        try:
            return TypeAdapter(Config).validate_json(json.dumps(shape(self.values, Config)))
        except ValidationError as error:
            raise UserError(
                f"{self.directory / CONFIG_FILE}: {error.error_count()} settings are not what this "
                f"version knows; use iterdpo {self.summary.iterdpo}, which made the run"
            ) from None

    @property
    def models(self) -> Sequence[ModelSummary]:
        """Each model as the summary has it, M0 first."""
        return self.summary.models

    @cached_property
    def policies(self) -> Mapping[str, Policy]:
        """The policy of each model, by name, M0 first."""
        found: dict[str, Policy] = {}
        for model in self.models:
            found[model.name] = self._policy(model, found)
        return found

    @property
    def best(self) -> str:
        """The name of the best model."""
        return self.summary.best.model

    def policy(self, name: str | None = None) -> Policy:
        """Return a model's policy; the last one where no name is given.

        Raises:
            UserError: the run has no such model.
        """
        policies = self.policies
        if name is None:
            return list(policies.values())[-1]
        if name not in policies:
            raise UserError(f"{self.directory}: no model {name}; there are {', '.join(policies)}")
        return policies[name]

    def directory_of(self, stage: str) -> Path:
        """Return where the result of ``stage`` (``<stage>/<key>``) lies.

        What is there is compared with its hashes the first time, whole models excepted, and with
        the results that it was made from.

        Raises:
            UserError: it is no longer in the store, damaged, or made from other results than the
                store has now.
        """
        name, key = stage.split("/")
        for link in (self.directory / LINKS_DIR).glob(f"*-{name}-{key[:KEY_DIGITS]}"):
            if (link / MANIFEST).is_file():
                return self._whole(link.resolve())
        raise UserError(
            f"{self.directory}: {stage} is no longer in the store; run the same command again"
        )

    def records(self, stage: str, kind: type[Record]) -> tuple[Record, ...]:
        """Return the records of ``stage`` (``<stage>/<key>``)."""
        return tuple(read_records(self.directory_of(stage) / RECORDS_FILE, kind))

    def manifest(self, stage: str) -> Manifest:
        """Return the ``stage.json`` of ``stage``: seconds, metrics, versions, what it came from."""
        return read_manifest(self.directory_of(stage))

    def made(self, iteration: int) -> IterationRecords:
        """Return the records of an iteration, from 1."""
        stages = self.summary.iterations[iteration - 1].stages
        adapter = stages.adapter
        return IterationRecords(
            prompts=self.records(stages.prompts, Prompt),
            candidates=self.records(stages.candidates, Candidate),
            judgments=self.records(stages.judgments, Judgment),
            pairs=self.records(stages.pairs, Pair),
            dropped=_json(self.directory_of(stages.pairs) / DROPPED_FILE),
            training=_json(self.directory_of(adapter) / TRAINING_FILE) if adapter else None,
        )

    def _whole(self, place: Path) -> Path:
        if place not in self._verified:
            try:
                manifest = verify(place, weights=(place / ADAPTER_DIR).is_dir())
                if problem := manifest.parents_problem(current_results(place.parents[1], manifest)):
                    raise CorruptStageError(f"{place}: {problem}")
            except CorruptStageError as error:
                raise UserError(
                    f"{error}; the run's own command, run again, computes it anew"
                ) from None
            self._verified.add(place)
        return place

    def _policy(self, model: ModelSummary, earlier: Mapping[str, Policy]) -> Policy:
        name, address = model.name, model.stages.policy
        stage, place = address.split("/")[0], self.directory_of(address)
        identity: Mapping[str, Any] = read_manifest(place).identity
        match stage:
            case names.BASE:
                return base_policy(name, place, identity["settings"], model.checkpoint)
            case names.MERGED:
                return merged_policy(name, place)
            case names.SFT:
                base = identity["args"][0]
                at = self.directory_of(f"{base['stage']}/{base['key']}")
                of_base: Mapping[str, Any] = read_manifest(at).identity
                start = base_policy(name, at, of_base["settings"], model.checkpoint)
            case _:
                assert model.parent is not None
                start = earlier[model.parent]
        return trained_policy(name, place, start)


def find_runs(places: Sequence[Path]) -> list[Run]:
    """Open runs, and every run of a sweep's directory that has a result.

    Raises:
        UserError: a place holds no run.
    """
    return [run for place in places for run in _runs_at(place)]


def job_order(job: Path) -> tuple[int, str]:
    """Return what the directories of a sweep's jobs are sorted by: their numbers, then names."""
    return (int(job.name) if job.name.isdecimal() else sys.maxsize, job.name)


def _runs_at(place: Path) -> Iterator[Run]:
    if (place / CONFIG_FILE).is_file():
        yield Run.open(place)
        return
    jobs = sorted((file.parent for file in place.glob(f"*/{SUMMARY_FILE}")), key=job_order)
    if not jobs:
        raise UserError(f"{place}: neither a run nor a sweep with a result; name its directory")
    yield from map(Run.open, jobs)


class _Settings(dict[str, Any]):
    """Settings as they lie in a file, where one that another version did not have is a line."""

    def __missing__(self, key: str) -> NoReturn:
        raise UserError(f"{self.origin[0]}: {_lacks(key, self.origin[1])}")

    def __init__(self, pairs: Sequence[tuple[str, Any]], path: Path, writer: str) -> None:
        super().__init__(pairs)
        self.origin = path, writer


def _settings(path: Path, writer: str) -> Mapping[str, Any]:
    """Return the configuration of a run, with at least these sections."""
    values = _json(path, lambda pairs: _Settings(pairs, path, writer))
    for part in _CONFIG_PARTS:
        if not isinstance(values, dict) or not isinstance(values.get(part), dict):
            raise UserError(f"{path}: {_lacks(part, writer)}")
    return cast(Mapping[str, Any], values)


def _lacks(setting: str, writer: str) -> str:
    return (
        f"has no {setting}, so it is not this version's ({writer} made the run); run the same "
        "command again, or use the version that made the run"
    )


def _json(
    path: Path, settings: Callable[[Sequence[tuple[str, Any]]], dict[str, Any]] = dict
) -> Any:
    try:
        return json.loads(path.read_text("utf-8"), object_pairs_hook=settings)
    except (ValueError, RecursionError):
        raise UserError(f"{path}: is not JSON; run the same command again") from None
