"""Run directories made by hand, as a run leaves them, with whatever texts and scores a test needs.

Nothing is computed by a model: records are written to a store, manifests beside them, and
``summary.json`` holds what the test plants.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir

from iterdpo.config.choices import as_values
from iterdpo.config.compose import conf_directory, typed
from iterdpo.engines.usage import Usage
from iterdpo.evaluation.summary import (
    EngineSummary,
    IterationStages,
    IterationSummary,
    JudgmentCounts,
    ModelStages,
    ModelSummary,
    RunSummary,
    StageSeconds,
)
from iterdpo.evaluation.summary_file import write_summary
from iterdpo.records import Candidate, FinishReason, Judgment, Pair, Prompt, Scored, record_id
from iterdpo.store.hashing import sha256_of
from iterdpo.store.manifest import manifest_text
from iterdpo.store.tables import write_records
from tests import summaries

WRITER = "aaaaaaaaaaaaaaaa"
MEASURED_IN = {
    "policy": "base", "evaluation": "evaluation", "held_out": "prompts", "sampled": "answers",
    "greedy": "answers", "own_judgments": "answer_judgments", "reference_prompts": "prompts",
    "reference_answers": "answers", "reference_judgments": "answer_judgments", "health": "health",
}  # fmt: skip
"""The stage of each of a model's addresses."""


@dataclass(frozen=True)
class Planted:
    """A pair that a test plants."""

    prompt: str
    chosen: str
    rejected: str
    chosen_score: float = 4.0
    rejected_score: float = 2.0
    raw: tuple[str, ...] = ()
    """What the judge said of the chosen answer."""


@dataclass
class MadeRun:
    """One run to be written."""

    directory: Path
    store: Path
    overrides: Sequence[str] = ()
    pairs: Sequence[Sequence[Planted]] = ()
    """Of each iteration."""
    scores: Sequence[Mapping[str, Sequence[float]]] = field(default_factory=lambda: [{"p": [3.0]}])
    """The oracle's scores of each model by prompt, M0 first."""
    more: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the summary that are to be others."""
    tokens: float = 10.0
    links: int = 0

    def write(self) -> Path:
        """Write everything and return the run's directory."""
        with initialize_config_dir(str(conf_directory()), version_base="1.3"):
            overrides = [f"iterations={len(self.scores) - 1 or 1}", *self.overrides]
            config = typed(compose("config", overrides=[f"store.root={self.store}", *overrides]))
        (self.directory / "stages").mkdir(parents=True)
        (self.directory / ".hydra").mkdir()
        hydra = self.directory / ".hydra"
        hydra.joinpath("overrides.yaml").write_text(json.dumps(list(overrides)))
        hydra.joinpath("hydra.yaml").write_text(
            json.dumps({"hydra": {"runtime": {"cwd": "/here"}}})
        )
        self.directory.joinpath("config.json").write_text(json.dumps(as_values(config)))
        summary = summaries.summary(
            [self.model(i, scores) for i, scores in enumerate(self.scores)],
            iterations=tuple(self.iteration(i, made) for i, made in enumerate(self.pairs, start=1)),
            run=RunSummary(
                engine=EngineSummary({"engine": "scripted", "device": "cpu"}, 1, Usage()),
                seed=config.seed,
                config_sha256="ab",
                wall_seconds=4.0,
                stage_seconds=(
                    StageSeconds("base/shared", 30.0),
                    StageSeconds(f"candidates/{self.directory.as_posix().replace('/', '-')}", 65.0),
                ),
                versions={"python": "3.11"},
            ),
        )
        write_summary(replace(summary, **self.more), self.directory)
        return self.directory

    def model(self, number: int, scores: Mapping[str, Sequence[float]]) -> ModelSummary:
        """Write the stages that a model was measured in, without records, and return its entry."""
        values = [score for some in scores.values() for score in some]
        mean = sum(values) / len(values) if values else None
        entry = summaries.model(number, measured=summaries.evaluation(mean, scores, self.tokens))
        stages = {}
        for name, stage in MEASURED_IN.items():
            made_of = [number, name, scores, self.store.name]
            stages[name] = f"{stage}/{self.stage(stage, made_of).name}"
        fingerprint = WRITER if number == 0 else entry.fingerprint
        return replace(entry, fingerprint=fingerprint, stages=ModelStages(**stages))

    def iteration(self, number: int, planted: Sequence[Planted]) -> IterationSummary:
        """Write the records of an iteration and return its entry."""
        prompts: dict[str, Prompt] = {}
        candidates, judgments, pairs = [], [], []
        for place, item in enumerate(planted):
            prompt = Prompt.of(item.prompt, "lab")
            prompts[prompt.id] = prompt
            sides = (item.chosen, item.rejected)
            names = [
                record_id("candidate", (prompt.id, str(number)), 2 * place + side, text)
                for side, text in enumerate(sides)
            ]
            for side, (name, text) in enumerate(zip(names, sides, strict=True)):
                index = 2 * place + side
                score = (item.chosen_score, item.rejected_score)[side]
                tokens = tuple(range(1 + len(text.split())))
                candidates.append(
                    Candidate(name, prompt.id, index, text, (1,), tokens, (0.0,) * len(tokens),
                              FinishReason.STOP, WRITER, 7)
                )  # fmt: skip
                judgments.append(
                    Judgment(record_id("judgment", (name,), 0, ""), name, prompt.id, WRITER,
                             Scored(score), raw=() if side else item.raw,
                             distribution=(0.1, 0.0, 0.2, 0.3, 0.4, 0.0), mass=0.98)
                )  # fmt: skip
            pairs.append(
                Pair(record_id("pair", names, 0, ""), prompt.id, names[0], names[1], item.prompt,
                     item.chosen, item.rejected, item.chosen_score, item.rejected_score, WRITER,
                     WRITER)
            )  # fmt: skip
        kinds: dict[str, tuple[type[Any], list[Any]]] = {
            "prompts": (Prompt, list(prompts.values())),
            "candidates": (Candidate, candidates),
            "judgments": (Judgment, judgments),
            "pairs": (Pair, pairs),
        }
        stages = {}
        for name, (kind, records) in kinds.items():
            made_of = [number, [record.id for record in records], self.store.name]
            stage = self.stage(name, made_of, {"low": 0, "high": 5})
            write_records(stage / "records.parquet", kind, records)
            stages[name] = f"{name}/{stage.name}"
        adapter = self.stage("adapter", [number, stages["pairs"], list(self.overrides)])
        history = [
            {"step": step, "loss": 1 / step, "rewards/margins": 0.1 * step, "grad_norm": 1.0}
            for step in range(1, 6)
        ]
        (adapter / "training.json").write_text(json.dumps({"history": history}))
        entry = summaries.iteration(number)
        return replace(
            entry,
            prompts=len(prompts),
            candidates=len(candidates),
            judgments=JudgmentCounts(len(judgments), 0, {}),
            pairs=replace(entry.pairs, kept=len(pairs)),
            stages=IterationStages(**stages, adapter=f"adapter/{adapter.name}"),
        )

    def stage(self, name: str, made_of: Any, settings: Mapping[str, Any] | None = None) -> Path:
        """Make a finished stage's directory with its manifest, linked from the run."""
        key = sha256_of([name, made_of])
        place = self.store / name / key
        place.mkdir(parents=True, exist_ok=True)
        manifest = {
            "key": key, "metrics": {}, "files": {}, "parents": {}, "seconds": 1.5, "versions": {},
            "identity": {"stage": name, "version": 1, "settings": dict(settings or {}),
                         "args": [], "kwargs": {}},
        }  # fmt: skip
        place.joinpath("stage.json").write_text(manifest_text(manifest))
        link = self.directory / "stages" / f"{self.links:02d}-{name}-{key[:8]}"
        self.links += 1
        link.symlink_to(place, target_is_directory=True)
        return place
