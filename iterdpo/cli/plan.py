"""``plan=true``: what each stage of a run would do, and why, before anything runs.

Keys follow from settings alone, so the loop itself is walked through with a store that computes
nothing. Where the loop looks at a result that is not there yet, it is taken for granted that the
iteration has pairs, and that no alarm ends the run or sends it back. Stored files are held against
their hashes, weights excepted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from iterdpo import loop
from iterdpo.assemble import assemble, library_versions
from iterdpo.config.schema import Config
from iterdpo.errors import UserError
from iterdpo.evaluation.best import Best
from iterdpo.evaluation.health import Health, HealthMetrics
from iterdpo.pairing.base import Pairing
from iterdpo.records import Pair
from iterdpo.runtime.formatting import count, disk_size
from iterdpo.runtime.quiet import quiet_libraries
from iterdpo.runtime.terminal import console, harmless
from iterdpo.stages.compare import Compare
from iterdpo.stages.generate import Generate, SelectPrompts
from iterdpo.stages.health import CheckHealth
from iterdpo.stages.judge import JudgeCandidates
from iterdpo.stages.pairs import BuildPairs
from iterdpo.stages.self_instruct import SelfInstruct
from iterdpo.store.atomic import disk_errors_named
from iterdpo.store.hashing import sha256_of
from iterdpo.store.identity import Identity, Ref, describe, difference, nearest
from iterdpo.store.inventory import Inventory, Leftover, read_store
from iterdpo.store.manifest import CorruptStageError, Manifest, verify
from iterdpo.store.runner import Stages
from iterdpo.store.stage import Stage, Stored, inputs_sha256, parent_results, stage_identity

P = ParamSpec("P")
Result = TypeVar("Result")

MOST_REASONS = 6
SUPPOSED_PAIRING = Pairing(kept=(Pair("", "", "", "", "", "", "", 1.0, 0.0, "", ""),), dropped={})
SUPPOSED_HEALTH = Health(HealthMetrics(0, "", 0.0, None), alarms=(), best=Best("", "", "judge"))
SUPPOSED: Mapping[str, object] = {
    BuildPairs.name: SUPPOSED_PAIRING,
    CheckHealth.name: SUPPOSED_HEALTH,
}


@dataclass(frozen=True)
class StageEstimate:
    """What a stage will take, going by the nearest one that is stored. None where none is."""

    tokens: int | None = None
    at_most: bool = False
    """Whether ``tokens`` is only a bound: every answer as long as it may be."""
    seconds: float | None = None
    bytes: int | None = None

    def __str__(self) -> str:
        words = []
        if self.tokens is not None:
            words.append(f"{'at most' if self.at_most else 'about'} {count(self.tokens, 'token')}")
        if self.seconds is not None:
            words.append(f"{self.seconds:.0f} s")
        if self.bytes is not None:
            words.append(disk_size(self.bytes))
        return ", ".join(words)


@dataclass(frozen=True)
class PlannedStage:
    """What one stage would do."""

    stage: str
    key: str
    state: str
    """``cached``, ``resumes`` or ``runs``."""
    details: tuple[str, ...] = ()
    """Why it runs, how far it is, or which libraries have changed since."""
    estimate: StageEstimate = field(default_factory=StageEstimate)


class _Supposed(Stored[Result]):
    """A result that is not there yet, as far as the loop looks into one."""

    @property
    def value(self) -> Any:
        return SUPPOSED.get(self.stage.name, ())


class Planner(Stages):
    """A store that computes nothing and notes what would be asked of it."""

    def __init__(self, root: Path, versions: dict[str, str]) -> None:
        super().__init__(root, versions)
        try:
            self.inventory = read_store(root)
        except UserError:  # nothing was ever stored there
            self.inventory = Inventory(root, {}, (), ())
        self.planned: list[PlannedStage] = []
        self._known: dict[tuple[str, str], Identity] = self.inventory.identities()
        self._seen: dict[Ref, Stored[Any]] = {}

    def run(self, stage: Stage[P, Result], /, *args: P.args, **kwargs: P.kwargs) -> Stored[Result]:
        """Note what ``stage`` would do and return its result, stored or supposed."""
        identity = stage_identity(stage, *args, **kwargs)
        ref = Ref(stage.name, sha256_of(identity))
        if ref not in self._seen:
            self._known[ref] = identity
            self._seen[ref] = self._noted(
                Stored(stage, ref.key, self.root / ref.stage / ref.key, args, kwargs), identity
            )
        return self._seen[ref]

    def take(self) -> list[PlannedStage]:
        """Return what was planned since the last call."""
        planned, self.planned = self.planned, []
        return planned

    def _noted(self, stored: Stored[Any], identity: Identity) -> Stored[Any]:
        """Note what a stage would do, and return its result as far as it is known before."""
        ref, results = stored.ref, parent_results(stored)
        manifest, problem = self._read(stored)
        # A parent that will be computed may come out as it was, or otherwise.
        unknown = [parent.short for parent, result in results.items() if not result]
        proviso = [f"if the same comes of {', '.join(unknown)}"] if unknown else []
        if manifest:
            details = (*proviso, *self._changed(manifest))
            self.planned.append(PlannedStage(ref.stage, ref.key, "cached", details))
            return stored if unknown else replace(stored, result_sha256=manifest.result_sha256)
        found = self.inventory.finished.get(ref)
        if found and found.manifest:
            like: Identity | None = identity
        else:
            like = nearest(identity, self._stored_identities(ref.stage), self._known)
        estimate = self._estimate(stored, like)
        if half := self._half_done(ref, None if unknown else inputs_sha256(ref.key, results)):
            planned = PlannedStage(ref.stage, ref.key, "resumes", (half.note, *proviso), estimate)
        else:
            reasons = [problem] if problem else self._reasons(identity, like, unknown)
            planned = PlannedStage(ref.stage, ref.key, "runs", tuple(reasons), estimate)
        self.planned.append(planned)
        return _Supposed(stored.stage, stored.key, stored.directory, stored.args, stored.kwargs)

    def _read(self, stored: Stored[Any]) -> tuple[Manifest | None, str]:
        """Return the manifest of a result that would be read, else why what is there is not."""
        if stored.ref not in self.inventory.finished:
            return None, ""
        try:
            with disk_errors_named(stored.directory):
                manifest = verify(stored.directory, weights=False)
        except CorruptStageError as error:
            return None, str(error)
        problem = manifest.parents_problem(parent_results(stored))
        return (None, f"the stored one {problem}") if problem else (manifest, "")

    def _reasons(
        self, identity: Identity, like: Identity | None, unknown: Sequence[str]
    ) -> list[str]:
        """Say why a stage runs: what it waits for, and what is new in it itself."""
        reasons = [f"after {', '.join(unknown)}"] if unknown else []
        if like is None:
            return [*reasons, f"no {identity['stage']} is stored"]
        new = difference(identity, like, self._known)
        if unknown:  # what is new in those is said there
            new = [
                item
                for item in new
                if not item.via and not item.path.startswith(("args[", "kwargs."))
            ]
        reasons += describe(new)
        if len(reasons) > MOST_REASONS:
            reasons[MOST_REASONS:] = [f"and {len(reasons) - MOST_REASONS} more differences"]
        return reasons

    def _half_done(self, ref: Ref, holds_for: str | None) -> Leftover | None:
        """Return a stage's unfinished work, of the parents' results if these are known."""
        for item in self.inventory.leftovers:
            if (item.kind, item.stage, item.key) == ("unfinished", *ref):
                return item if (item.path / (holds_for or "")).is_dir() else None
        return None

    def _stored_identities(self, stage: str) -> Iterator[Identity]:
        for ref, item in self.inventory.finished.items():
            if ref.stage == stage and item.manifest is not None:
                yield item.identity

    def _changed(self, manifest: Manifest) -> Iterator[str]:
        then = manifest.versions
        for name, now in self.versions.items():
            if name in then and then[name] != now:
                yield f"computed with {name} {then[name]}, now {now}"

    def _estimate(self, stored: Stored[Any], like: Identity | None) -> StageEstimate:
        mine = rows(stored.stage, stored.args)
        stage = stored.stage
        if like is None:
            bound = mine * stage.sampling.max_tokens if isinstance(stage, Generate) else None
            return StageEstimate(bound, at_most=True)
        other = self.inventory.finished[Ref(stage.name, sha256_of(like))]
        manifest = other.readable()
        theirs = other.records()
        scale = mine / theirs if mine and theirs else 1.0
        tokens = manifest.metrics.get("generated_tokens")
        return StageEstimate(
            tokens=round(tokens * scale) if isinstance(tokens, int) else None,
            seconds=manifest.seconds * scale,
            bytes=round(other.size * scale),
        )


def rows(stage: Stage[..., Any], args: Iterable[Any]) -> int:
    """Return how many records a stage will make, as far as settings tell; else 0."""
    first = next(iter(args), None)
    if isinstance(stage, SelectPrompts | SelfInstruct):
        return stage.count
    if isinstance(stage, Generate) and isinstance(first, Stored):
        return rows(first.stage, first.args) * stage.sampling.n
    if isinstance(stage, JudgeCandidates | Compare):
        candidates = list(args)[1]
        return rows(candidates.stage, candidates.args) if isinstance(candidates, Stored) else 0
    return 0


def plan(config: Config) -> Iterator[tuple[str, list[PlannedStage]]]:
    """Yield, for each policy, its name and the stages on the way to it."""
    quiet_libraries()
    planner = Planner(config.store.root, library_versions())
    recipe = assemble(config, Path()).recipe
    for done in loop.run(recipe, config.iterations, planner):
        yield f"M{done.iteration}", planner.take()


def show(config: Config) -> None:
    """Print the plan."""
    out = console(80, soft_wrap=True)
    states: Counter[str] = Counter()
    every: list[PlannedStage] = []
    for name, stages in plan(config):
        out.print(name, style="bold")
        for stage in stages:
            states[stage.state] += 1
            every.append(stage)
            line = f"  {stage.state:<8} {stage.stage:<17} {stage.key[:8]}  {stage.estimate}"
            out.print(line.rstrip())
            for detail in stage.details:
                out.print(f"           {harmless(detail)}", style="dim")
    counts = [f"{states[state]} {verb}" for state, verb in VERBS.items() if states[state]]
    total = str(total_of(every))
    out.print(f"{len(every)} stages: {', '.join(counts)}" + (f"; {total}" if total else ""))


VERBS = {"cached": "cached", "resumes": "to resume", "runs": "to run"}


def total_of(stages: Iterable[PlannedStage]) -> StageEstimate:
    """Return the sum of what is known."""
    estimates = [stage.estimate for stage in stages]
    tokens = [item.tokens for item in estimates if item.tokens is not None]
    seconds = [item.seconds for item in estimates if item.seconds is not None]
    sizes = [item.bytes for item in estimates if item.bytes is not None]
    return StageEstimate(
        sum(tokens) if tokens else None,
        any(item.at_most for item in estimates if item.tokens is not None),
        sum(seconds) if seconds else None,
        sum(sizes) if sizes else None,
    )
