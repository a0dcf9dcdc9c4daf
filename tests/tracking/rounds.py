"""Rounds of a loop, small and written out by hand, for the tests of what trackers are told."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from iterdpo.evaluation.health import Alarm
from iterdpo.evaluation.summary import Summary
from iterdpo.pairing.base import Pairing
from iterdpo.records import (
    Adapter,
    Base,
    Candidate,
    FinishReason,
    Judgment,
    Pair,
    Policy,
    Prompt,
    Scored,
    Unscored,
    UnscoredReason,
    Verdict,
)
from tests import summaries

BASE = Base("lab", "0" * 64, "none", "float32", "lab")
M0 = Policy("M0", BASE)

CONFIG: dict[str, Any] = {
    "seed": 7,
    "model": {"name": "lab", "path": "lab"},
    "prompts": {"_target_": "iterdpo.prompts.lab.LabPrompts"},
    "judge": {
        "_target_": "iterdpo.judging.self_judge.SelfJudge",
        "model": "current",
        "score": "expected",
        "rubric": "my/rubric.jinja",
    },
    "engine": {"_target_": "iterdpo.engines.local.LocalEngine"},
    "pairs": {"_target_": "iterdpo.pairing.top_bottom.TopBottom"},
    "training": {"loss": ["sigmoid", "sft"], "reference": "previous", "beta": 0.1},
    "tracking": {"group": None, "tags": ["mine"]},
}
"""The parts of a configuration that trackers look at."""


@dataclass(frozen=True)
class Kept:
    """Stands for a ``Stored`` result."""

    value: Any
    directory: Path = Path()
    name: str = ""

    @property
    def stage(self) -> SimpleNamespace:
        return SimpleNamespace(name=self.name)

    @property
    def key(self) -> str:
        return f"k-{self.name}"

    @property
    def manifest(self) -> dict[str, Any]:
        files = sorted(
            path.relative_to(self.directory).as_posix()
            for path in self.directory.rglob("*")
            if path.is_file() and path.name != "stage.json"
        )
        return {"files": dict.fromkeys(files, "sha")}


def prompt(number: int) -> Prompt:
    return Prompt(f"p{number}", f"name a tool, {number}", "lab")


def candidate(prompt_id: str, index: int, text: str, tokens: int = 2) -> Candidate:
    return Candidate(
        id=f"{prompt_id}-{index}", prompt_id=prompt_id, index=index, text=text,
        prompt_token_ids=(1,), token_ids=(1,) * tokens, logprobs=(0.0,) * tokens,
        finish_reason=FinishReason.STOP, policy=M0.fingerprint, seed=0,
    )  # fmt: skip


def judgment(answer: Candidate, score: float | None, raw: tuple[str, ...] = ()) -> Judgment:
    verdict: Verdict = Unscored(UnscoredReason.NO_MASS) if score is None else Scored(score)
    return Judgment(f"j-{answer.id}", answer.id, answer.prompt_id, M0.fingerprint, verdict, raw)


def pair(
    question: Prompt, chosen: Candidate, rejected: Candidate, margin: float, policy: Policy = M0
) -> Pair:
    return Pair(
        f"{chosen.id}>{rejected.id}", question.id, chosen.id, rejected.id, question.text,
        chosen.text, rejected.text, margin, 0.0, policy.fingerprint, policy.fingerprint,
    )  # fmt: skip


def initial_round() -> Any:
    return SimpleNamespace(iteration=0, policy=Kept(M0, name="base"), made=None)


def policy_of(iteration: int) -> Policy:
    if iteration == 0:
        return M0
    adapter = Adapter("somewhere", f"{iteration}" * 64)
    return Policy(f"M{iteration}", BASE, adapter, parent=policy_of(iteration - 1).fingerprint)


def made_round(place: Path, iteration: int = 1, *, trained: bool = True) -> Any:
    """Three prompts with two answers each; two pairs; two optimizer steps."""
    author = policy_of(iteration - 1)
    prompts = [prompt(n) for n in range(3)]
    answers = [
        candidate(p.id, i, ("a hammer", "an apple")[i], 2 + i) for p in prompts for i in (0, 1)
    ]
    judgments = [judgment(answer, 4.0 - answer.index) for answer in answers]
    pairs = [pair(prompts[n], answers[2 * n], answers[2 * n + 1], 1.0 + n, author) for n in (0, 1)]
    stages = place / f"store{iteration}"
    for name in ("pairs", "adapter/adapter"):
        (stages / name).mkdir(parents=True, exist_ok=True)
    (stages / "pairs" / "records.parquet").write_bytes(b"pairs")
    (stages / "pairs" / "stage.json").write_text("{}")
    (stages / "adapter" / "stage.json").write_text("{}")
    (stages / "adapter" / "adapter" / "adapter_model.safetensors").write_bytes(b"weights")
    history = [{"step": 1, "loss": 0.75}, {"step": 2, "loss": 0.5, "rewards/margins": 0.25}]
    (stages / "adapter" / "training.json").write_text(json.dumps({"history": history}))
    policy = Kept(policy_of(iteration), stages / "adapter", "adapter") if trained else None
    made = SimpleNamespace(
        prompts=Kept(prompts), candidates=Kept(answers), judgments=Kept(judgments),
        pairs=Kept(Pairing(tuple(pairs if trained else ()), {}), stages / "pairs", "pairs"),
        trained=policy,
    )  # fmt: skip
    return SimpleNamespace(iteration=iteration, policy=policy or Kept(M0), made=made)


def result_of(iteration: int) -> Summary:
    """The run's summary after an iteration."""
    return summaries.summary(
        [summaries.model(t, 3.0 + t / 2) for t in range(iteration + 1)],
        iterations=tuple(summaries.iteration(t) for t in range(1, iteration + 1)),
        alarms=(Alarm(1, "response_length", 9.0, 8.0, "answers grew"),) if iteration else (),
    )
