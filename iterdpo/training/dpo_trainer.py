"""TRL's DPOTrainer, given the engine's own tokens and held to the run-time checks.

This module imports TRL at its top and is itself imported only when a training begins.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from trl import DPOConfig, DPOTrainer

from iterdpo.runtime.signals import StopRequest
from iterdpo.training.arguments import arguments_of
from iterdpo.training.checks import ROUNDING, StepZero, check_step0
from iterdpo.training.learners import Learner
from iterdpo.training.memory import BatchPart, split
from iterdpo.training.pairs_trainer import PairsTrainer
from iterdpo.training.spec import DpoSpec


class ResumableDpoTrainer(PairsTrainer, DPOTrainer):
    """A ``DPOTrainer`` of the engine's own tokens."""

    spec: DpoSpec

    recorded = (
        "loss", "grad_norm", "learning_rate", "rewards/chosen", "rewards/rejected",
        "rewards/accuracies", "rewards/margins", "logps/chosen", "logps/rejected", "entropy",
    )  # fmt: skip

    @staticmethod
    def arguments(spec: DpoSpec) -> DPOConfig:
        training = spec.training
        return arguments_of(
            DPOConfig,
            spec,
            beta=training.beta,
            loss_type=list(training.loss),
            loss_weights=list(training.loss_weights),
            label_smoothing=training.label_smoothing,
            max_length=training.max_length,
        )

    def __init__(self, spec: DpoSpec, learner: Learner, stop: StopRequest, **kwargs: Any) -> None:
        super().__init__(spec, learner, stop, ref_model=learner.reference, **kwargs)
        self.losses = spec.training.loss

    def parts(self, inputs: dict[str, torch.Tensor], rows: int) -> Iterator[BatchPart]:
        return split(inputs, rows, list(self.loss_types), list(self.loss_weights), self._step)

    def add_part(self, model: Any, part: BatchPart, num_items_in_batch: Any) -> torch.Tensor:
        kept = self.loss_types, self.loss_weights
        self.loss_types, self.loss_weights = part.losses, part.weights
        try:
            return super().add_part(model, part, num_items_in_batch)
        finally:
            self.loss_types, self.loss_weights = kept

    def check_first(self, inputs: dict[str, Any], loss: float, tokens: Any) -> StepZero:
        return check_step0(
            self.accelerator.unwrap_model(self.model),
            inputs,
            loss,
            self.spec.training,
            tuple(self.loss_types),
            tuple(self.loss_weights),
            self.spec.reference_is_start,
            self.learner.as_reference,
            ROUNDING[self.spec.base.dtype],
        )
