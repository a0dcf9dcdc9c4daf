"""What one training asks for and what it leaves behind: plain data, files in and files out.

Training is a function of a ``Spec`` and the files it names, so it can run in this process, in
a child, or on another machine, with the same result.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, get_args

from iterdpo.config.model import LoraConfig
from iterdpo.config.sft import SftConfig
from iterdpo.config.training import OptimizerConfig, TrainingConfig
from iterdpo.records import Base
from iterdpo.store.atomic import write_text

TokenizedText = tuple[tuple[int, ...], tuple[int, ...]]
"""Prompt and answer, as token ids."""


@dataclass(frozen=True, slots=True)
class PairExample:
    """One preference pair as the token ids that the engine wrote, never tokenized again."""

    prompt_ids: Sequence[int]
    chosen_ids: Sequence[int]
    rejected_ids: Sequence[int]
    chosen_logprobs: Sequence[float]
    """log p of each token of the chosen answer as the engine measured it while writing, in nats;
    none for an answer that no engine wrote."""
    rejected_logprobs: Sequence[float]

    @property
    def texts(self) -> tuple[TokenizedText, ...]:
        prompt = tuple(self.prompt_ids)
        return (prompt, tuple(self.chosen_ids)), (prompt, tuple(self.rejected_ids))

    @property
    def noted_logprobs(self) -> tuple[tuple[float, ...], ...]:
        """Of the texts, as far as the engine noted them."""
        answers = (
            (self.chosen_ids, self.chosen_logprobs),
            (self.rejected_ids, self.rejected_logprobs),
        )
        return tuple(tuple(noted) for ids, noted in answers if len(noted) == len(ids))


@dataclass(frozen=True, slots=True)
class SftExample:
    """One answer to be learned, as token ids, behind the prompt that the engine would read.

    The last of ``answer_ids`` is the token that ends an answer, unless the answer was cut.
    """

    prompt_ids: tuple[int, ...]
    answer_ids: tuple[int, ...]

    @property
    def texts(self) -> tuple[TokenizedText, ...]:
        return ((self.prompt_ids, self.answer_ids),)

    @property
    def noted_logprobs(self) -> tuple[tuple[float, ...], ...]:
        """None: no engine wrote the answer."""
        return ()


AnyExample = PairExample | SftExample


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What every training depends on, whatever it learns from."""

    base: Base
    """The weights under the adapter; where every weight is trained, those that it starts from."""
    lora: LoraConfig | None
    """The adapter's recipe; None trains every weight."""
    training: OptimizerConfig
    policy_adapter: str | None = None
    """Adapter directory that the new adapter starts as a copy of; None for a fresh one."""
    examples: str
    """Parquet file of the records to learn from."""
    seed: int
    attention: str | None
    trust_remote_code: bool
    author: str = "the policy"
    """Name of the policy that training starts from, for messages."""
    max_engine_gap: float | None = None
    """Largest allowed |engine - trainer| log-prob of a text, in nats a token; None for any."""
    checkpoints: str | None = None
    """Directory for this training's checkpoints, which the caller clears once the result is safe.
    None for none. Like ``checkpoint_steps``, no part of what identifies a training: neither changes
    its result."""
    checkpoint_steps: int | None = None
    """Optimizer steps from one checkpoint to the next, 1 or more: the most that a kill can cost.
    None for none."""
    engine_logprobs: tuple[tuple[float, ...], ...] = ()
    """log p of each token of the watched texts under the start, in nats, as the engine measured it:
    what tells how far engine and trainer disagree anyway. Empty where the engine wrote them and
    noted it then. No part of what identifies a training."""

    record: ClassVar[type[AnyExample]]
    """What ``examples`` holds."""
    section: ClassVar[str]
    """Where the settings of ``training`` stand in the configuration, for messages."""
    unit: ClassVar[str]
    """What a batch counts, likewise."""

    def write(self, path: Path) -> None:
        values = {"kind": type(self).__name__} | dataclasses.asdict(self)
        write_text(path, json.dumps(values, indent=1, default=str))


@dataclass(frozen=True, slots=True, kw_only=True)
class DpoSpec(Spec):
    """Everything one DPO training depends on."""

    training: TrainingConfig
    reference_adapter: str | None
    """Adapter directory of the reference; None for a reference without one."""
    reference_base: Base | None = None
    """The reference's weights where every weight is trained. With an adapter, policy and reference
    share ``base``, and this is None."""
    reference_is_start: bool
    """Whether the reference is the very policy that training starts from, which also wrote the
    examples."""

    record: ClassVar[type[AnyExample]] = PairExample
    section: ClassVar[str] = "training"
    unit: ClassVar[str] = "pair"


@dataclass(frozen=True, slots=True, kw_only=True)
class OrpoSpec(Spec):
    """Everything one ORPO training depends on. It has no reference."""

    training: TrainingConfig

    record: ClassVar[type[AnyExample]] = PairExample
    section: ClassVar[str] = "training"
    unit: ClassVar[str] = "pair"


@dataclass(frozen=True, slots=True, kw_only=True)
class SftSpec(Spec):
    """Everything one supervised fine-tuning depends on. It has no reference."""

    training: SftConfig

    record: ClassVar[type[AnyExample]] = SftExample
    section: ClassVar[str] = "sft"
    unit: ClassVar[str] = "example"


AnySpec = DpoSpec | OrpoSpec | SftSpec


def read_spec(path: Path) -> AnySpec:
    """Return what ``Spec.write`` wrote."""
    from pydantic import TypeAdapter

    values = json.loads(path.read_text("utf-8"))
    kinds: dict[str, type[AnySpec]] = {kind.__name__: kind for kind in get_args(AnySpec)}
    kind = kinds[values.pop("kind")]
    return TypeAdapter(kind).validate_json(json.dumps(values))
