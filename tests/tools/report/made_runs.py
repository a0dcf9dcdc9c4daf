"""Run directories made by hand, as a run leaves them, with whatever texts and scores a test needs.

Nothing is computed by a model: records are written to a store, manifests beside them, and
``summary.json`` holds what the test plants.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir

from iterdpo.config.choices import as_values
from iterdpo.config.compose import conf_directory, typed
from iterdpo.records import Candidate, FinishReason, Judgment, Pair, Prompt, Scored, record_id
from iterdpo.store.hashing import sha256_of
from iterdpo.store.manifest import manifest_text
from iterdpo.store.tables import write_records

WRITER = "aaaaaaaaaaaaaaaa"


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
    """Further entries of the summary."""
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
        models = [self.model(i, scores) for i, scores in enumerate(self.scores)]
        summary = {
            "models": models,
            "iterations": [self.iteration(i, made) for i, made in enumerate(self.pairs, start=1)],
            "canaries": {},
            "run": {
                "engine": {"engine": "scripted", "device": "cpu", "starts": 1},
                "seed": config.seed,
                "wall_seconds": 4.0,
                "stage_seconds": [
                    {"stage": "base/shared", "seconds": 30.0},
                    {"stage": f"candidates/{self.directory}", "seconds": 65.0},
                ],
                "versions": {"python": "3.11"},
            },
            **self.more,
        }
        self.directory.joinpath("summary.json").write_text(json.dumps(summary))
        return self.directory

    def model(self, number: int, scores: Mapping[str, Sequence[float]]) -> dict[str, Any]:
        """Write a model's evaluation and return its entry."""
        values = [score for some in scores.values() for score in some]
        mean = sum(values) / len(values) if values else None
        evaluation = {"sampled_by_prompt": {key: list(some) for key, some in scores.items()}}
        stage = self.stage("evaluation", {"number": number, **evaluation})
        (stage / "evaluation.json").write_text(json.dumps(evaluation))
        quality = {"mean": mean, "ci95": [mean - 0.1, mean + 0.1], "perfect": 5.0,
                   "perfect_share": 0.1, "greedy_mean": mean,
                   "n": len(values)} if mean is not None else None  # fmt: skip
        measures = {"pairwise_accuracy": 0.8, "exact_match": 0.5, "spearman": 0.4,
                    "kendall_tau": 0.3, "n": 10,
                    "ci95": {"pairwise_accuracy": [0.75, 0.85],
                             "spearman": [-0.1, 0.9]}}  # fmt: skip
        return {
            "name": f"M{number}",
            "iteration": number,
            "fingerprint": WRITER if number == 0 else f"{number:016x}",
            "adapter_sha256": None,
            "parent": f"M{number - 1}" if number else None,
            "quality": quality,
            "judge": {"fixed_set": measures, "own_answers": {"pairwise_accuracy": 0.7, "n": 10},
                      "parse_rate": 0.975, "length_correlation": 0.2,
                      "ci95": {"parse_rate": [0.95, 0.99], "length_correlation": [0.1, 0.3]}},
            "judged_mean": 3.0,
            "judged_mean_ci95": [2.5, 3.5],
            "response_tokens": self.tokens,
            "checkpoint": "lab",
            "stages": {"evaluation": f"evaluation/{stage.name}"},
        }  # fmt: skip

    def iteration(self, number: int, planted: Sequence[Planted]) -> dict[str, Any]:
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
        return {
            "iteration": number,
            "prompts": len(prompts),
            "candidates": len(candidates),
            "judgments": {"scored": len(judgments), "unscored": 0, "reasons": {}},
            "pairs": {"kept": len(pairs), "dropped": {"tie": 3, "margin": 1}, "length_ratio": 1.1,
                      "label_accuracy": 0.9,
                      "label_accuracy_ci95": [0.8, 0.95], "margin_mean": 2.0},
            "training": {"pairs": len(pairs), "steps": 5, "step0_loss": 0.69,
                         "step0_expected_loss": 0.69, "reference_unchanged": True,
                         "engine_gap": 1e-6},
            "stages": {**stages, "adapter": f"adapter/{adapter.name}"},
            "usage": {"candidates": {"prompt_tokens": 10, "cached_prompt_tokens": 0,
                                     "generated_tokens": 20, "tokens_per_second": 5.0}},
            "seconds": {"candidates": 1.0, "judgments": 2.0, "adapter": 3.0, "pairs": 0.01},
            "peak_memory": {"candidates": {"ram": 3 << 29, "gpu": None},
                            "adapter": {"ram": 2 << 30, "gpu": 5 << 28}},
        }  # fmt: skip

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
