"""What one training asks for and what it leaves behind: plain data, files in and files out.

Training is a function of a ``TrainSpec`` and the files it names, so it can run in this process, in
a child, or on another machine, with the same result.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iterdpo.config.model import LoraConfig
from iterdpo.config.training import TrainingConfig
from iterdpo.records import Base
from iterdpo.store.atomic import write_text

ADAPTER_DIR = "adapter"
REPORT_FILE = "training.json"
CANARY_FILE = "canary.json"


@dataclass(frozen=True, slots=True)
class Example:
    """One preference pair as the token ids that the engine wrote, never tokenized again."""

    prompt_ids: tuple[int, ...]
    chosen_ids: tuple[int, ...]
    rejected_ids: tuple[int, ...]
    chosen_logprob: float
    """log p(chosen | prompt) as the engine measured it while writing, in nats."""
    rejected_logprob: float


@dataclass(frozen=True, slots=True)
class TrainSpec:
    """Everything one training depends on."""

    base: Base
    lora: LoraConfig
    training: TrainingConfig
    policy_adapter: str | None
    """Adapter directory that the new adapter starts as a copy of; None for a fresh one."""
    reference_adapter: str | None
    """Adapter directory of the reference; None for the bare base."""
    reference_is_start: bool
    """Whether the reference is the very policy that training starts from."""
    examples: str
    """Parquet file of ``Example`` records."""
    seed: int
    attention: str | None
    trust_remote_code: bool
    author: str = "the policy"
    """Name of the policy that wrote the examples and that training starts from, for messages."""
    max_engine_gap: float | None = None
    """Largest allowed |engine - trainer| log-prob of an example, in nats a token; None for any."""
    checkpoints: str | None = None
    """Directory for this training's checkpoints, which the caller clears once the result is safe.
    None for none. Like ``checkpoint_steps``, no part of what identifies a training: neither changes
    its result."""
    checkpoint_steps: int | None = None
    """Optimizer steps from one checkpoint to the next, 1 or more: the most that a kill can cost.
    None for none."""

    def write(self, path: Path) -> None:
        write_text(path, json.dumps(dataclasses.asdict(self), indent=1))

    @classmethod
    def read(cls, path: Path) -> TrainSpec:
        from pydantic import TypeAdapter

        return TypeAdapter(cls).validate_json(path.read_bytes())


@dataclass(frozen=True, slots=True)
class CanaryText:
    """A text on which the new adapter and the one before differ, as the trainer measured it."""

    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    before: float
    """log p under the policy that training started from, in nats."""
    after: float
    """log p under the trained policy."""


@dataclass(frozen=True, slots=True)
class Canary:
    """The texts that tell two adapters apart, and how far engine and trainer disagree anyway."""

    texts: tuple[CanaryText, ...]
    noise: float
    """Largest |engine - trainer| log-prob seen on the starting policy, in nats."""

    @classmethod
    def read(cls, path: Path) -> Canary:
        values: dict[str, Any] = json.loads(path.read_text("utf-8"))
        texts = tuple(
            CanaryText(tuple(t["prompt_ids"]), tuple(t["token_ids"]), t["before"], t["after"])
            for t in values["texts"]
        )
        return cls(texts, values["noise"])
