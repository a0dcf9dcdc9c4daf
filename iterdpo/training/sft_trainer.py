"""TRL's SFTTrainer, given token ids of which it learns the answers alone.

This module imports TRL at its top and is itself imported only when a training begins.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from datasets import Dataset
from trl import SFTConfig as SFTArguments
from trl import SFTTrainer

from iterdpo.runtime.signals import StopRequest
from iterdpo.training.arguments import arguments_of, on_one_device
from iterdpo.training.callbacks import Advance, watched
from iterdpo.training.checks import StepZero, check_likelihood
from iterdpo.training.learners import Learner
from iterdpo.training.memory import Part, split_rows
from iterdpo.training.resumable import ResumableTrainer
from iterdpo.training.spec import SftExample, SftSpec

IGNORED = -100
"""What PyTorch's losses leave out."""


class ResumableSftTrainer(ResumableTrainer, SFTTrainer):
    """An ``SFTTrainer`` whose loss is the mean over the tokens of all answers of a step."""

    recorded = ("loss", "grad_norm", "learning_rate", "entropy", "mean_token_accuracy")

    def rows_in(self, inputs: dict[str, torch.Tensor]) -> int:
        return len(inputs["input_ids"])

    def parts(self, inputs: dict[str, torch.Tensor], rows: int) -> Iterator[Part]:
        return split_rows(inputs, rows)

    def check_first(self, inputs: dict[str, Any], loss: float, tokens: Any) -> StepZero:
        model = self.accelerator.unwrap_model(self.model)
        tolerance = self.spec.training.step0_tolerance
        return check_likelihood(model, inputs, loss, int(tokens), tolerance)


def row_of(lesson: SftExample) -> dict[str, list[int]]:
    """Return a lesson as the trainer reads it: only the answer's tokens are labels."""
    return {
        "input_ids": [*lesson.prompt_ids, *lesson.answer_ids],
        "labels": [IGNORED] * len(lesson.prompt_ids) + list(lesson.answer_ids),
    }


def make_lesson_trainer(
    learner: Learner,
    tokenizer: Any,
    lessons: Sequence[SftExample],
    spec: SftSpec,
    advance: Advance | None,
    stop: StopRequest | None = None,
) -> ResumableSftTrainer:
    """Return a trainer for ``lessons``."""
    arguments = SFTArguments(**arguments_of(spec), max_length=None, packing=False)
    trainer = ResumableSftTrainer(
        spec,
        learner,
        stop or StopRequest(),
        model=learner.model,
        args=on_one_device(arguments),
        processing_class=tokenizer,
        train_dataset=Dataset.from_list([row_of(lesson) for lesson in lessons]),
    )
    watched(trainer, advance)
    return trainer
