"""TRL's SFTTrainer, given token ids of which it learns the answers alone.

This module imports TRL at its top and is itself imported only when a training begins.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from datasets import Dataset
from trl import SFTConfig, SFTTrainer

from iterdpo.training.arguments import arguments_of
from iterdpo.training.checks import IGNORED_LABEL, ROUNDING, StepZero, check_likelihood
from iterdpo.training.memory import BatchPart, split_rows
from iterdpo.training.resumable import ResumableTrainer
from iterdpo.training.spec import SftExample, SftSpec


class ResumableSftTrainer(ResumableTrainer, SFTTrainer):
    """An ``SFTTrainer`` whose loss is the mean over the tokens of all answers of a step."""

    recorded = ("loss", "grad_norm", "learning_rate", "entropy", "mean_token_accuracy")

    spec: SftSpec

    @staticmethod
    def arguments(spec: SftSpec) -> SFTConfig:
        return arguments_of(SFTConfig, spec, max_length=None, packing=False)

    @staticmethod
    def dataset(examples: Sequence[SftExample]) -> Dataset:
        """Return the token ids of prompts and answers; only the answers' tokens are labels."""
        return Dataset.from_list(
            [
                {
                    "input_ids": [*item.prompt_ids, *item.answer_ids],
                    "labels": [IGNORED_LABEL] * len(item.prompt_ids) + list(item.answer_ids),
                }
                for item in examples
            ]
        )

    @staticmethod
    def facts(examples: Sequence[SftExample]) -> dict[str, Any]:
        """Return the number of tokens that are learned."""
        return {"tokens": sum(len(item.answer_ids) for item in examples)}

    def rows_in(self, inputs: dict[str, torch.Tensor]) -> int:
        return len(inputs["input_ids"])

    def parts(self, inputs: dict[str, torch.Tensor], rows: int) -> Iterator[BatchPart]:
        return split_rows(inputs, rows)

    def check_first(self, inputs: dict[str, Any], loss: float, tokens: Any) -> StepZero:
        model = self.accelerator.unwrap_model(self.model)
        tolerance = self.spec.training.step0_tolerance
        rounding = ROUNDING[self.spec.base.dtype]
        return check_likelihood(model, inputs, loss, int(tokens), tolerance, rounding)
