"""What trainings and an engine take of this machine, by the run's settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from iterdpo.config.model import ModelConfig
from iterdpo.config.training import OptimizerConfig, TrainingConfig
from iterdpo.engines.choice import EngineName
from iterdpo.engines.memory import (
    ENGINE_WORKSPACE,
    MemoryEstimate,
    engine_bytes,
    sequences_in,
    served_bytes,
)
from iterdpo.models.hardware import free_host_memory
from iterdpo.models.loading import declared_context
from iterdpo.models.memory import CUDA_CONTEXT, GIB, ModelShape, base_bytes, trainer_bytes
from iterdpo.models.prequantized import PREQUANTIZED

WORTHWHILE_SEQUENCES = 32
"""Answers side by side that an engine beside the trainer should at least have memory for."""


def card_bytes() -> int:
    """Return the memory of the first GPU, where training runs."""
    import torch

    return int(torch.cuda.get_device_properties(0).total_memory)


@dataclass(frozen=True, slots=True)
class Sizes:
    """A model's sizes and how it is held: what all estimates are made from."""

    model: ModelConfig
    shape: ModelShape
    declared: int
    """Tokens that the checkpoint reads."""

    @classmethod
    def of(cls, model: ModelConfig, checkpoint: Path) -> Sizes | None:
        """Read a checkpoint's sizes; None where it is of a kind that estimates do not know.

        Args:
            model: the model's settings, with its type chosen.
            checkpoint: the model's directory.
        """
        shape, declared = ModelShape.at(checkpoint), declared_context(str(checkpoint))
        return None if shape is None or declared is None else cls(model, shape, declared)

    @property
    def dtype_bytes(self) -> int:
        """Of a number that is not quantized."""
        return 4 if self.model.dtype == "float32" else 2

    @property
    def rank(self) -> int | None:
        """Of the adapters; None where every weight is trained."""
        return self.model.adapter.rank if self.model.adapter else None

    @property
    def context(self) -> int:
        """Tokens of prompt and answer that an engine reads."""
        return min(self.declared, self.model.context or self.declared)

    def length(self, training: OptimizerConfig) -> int:
        """Return the tokens of the longest prompt plus answer that is trained on."""
        return min(self.context, training.max_length or self.context)

    def training(self, training: OptimizerConfig) -> int:
        """Return what a training takes at its peak, in bytes; what the settings say, if they do."""
        if training.memory_gib is not None:
            return round(training.memory_gib * GIB)
        return trainer_bytes(
            self.shape,
            self.model.scheme,
            self.dtype_bytes,
            self.rank,
            training.micro_batch_size,
            self.length(training),
            training.gradient_checkpointing,
            eager_attention=self.model.attention == "eager",
            method=training.method if isinstance(training, TrainingConfig) else "sft",
        )

    def estimate(
        self,
        trainings: Sequence[OptimizerConfig],
        engine: EngineName,
        sequences: int = WORTHWHILE_SEQUENCES,
        memory_share: float | None = None,
    ) -> MemoryEstimate:
        """Return what an engine and the larger of the trainings need of the first GPU.

        Args:
            trainings: of the run.
            engine: which engine.
            sequences: most answers that it writes side by side.
            memory_share: of the card, where it is told to take that; None for what it needs.
        """
        card, held = card_bytes(), self._served(engine)
        # What does not fit into the cache waits, so a full batch is no condition for staying.
        fewest = min(sequences, WORTHWHILE_SEQUENCES)
        needed = engine_bytes(self.shape, self.dtype_bytes, self.context, fewest, held, self.rank)
        return MemoryEstimate(
            card=card,
            engine=needed if memory_share is None else round(memory_share * card),
            trainer=max(map(self.training, trainings)),
            # vLLM is a process of its own, of which weights and cache alone go.
            asleep=ENGINE_WORKSPACE if engine == "vllm" else CUDA_CONTEXT,
            weights=base_bytes(self.shape, held, self.dtype_bytes),
            host=free_host_memory(),
        )

    def sequences(self, memory: int, cards: int, training: OptimizerConfig) -> int:
        """Return how many answers vLLM is to write side by side.

        Args:
            memory: what it takes of each card, in bytes.
            cards: that it is split over.
            training: of which it writes the pairs: its longest are the longest to be written.
        """
        held = served_bytes(self.shape, self.dtype_bytes, self._served("vllm"), self.rank)
        cache = cards * (memory - ENGINE_WORKSPACE) + ENGINE_WORKSPACE - held
        return sequences_in(cache, self.shape, self.dtype_bytes, self.length(training))

    def _served(self, engine: EngineName) -> str:
        """Return how the weights that an engine serves are quantized."""
        packed = engine == "vllm" and self.model.quantization in PREQUANTIZED
        return self.model.quantization if packed else "none"
