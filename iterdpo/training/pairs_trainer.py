"""What TRL's trainers on preference pairs have in common here.

This module imports transformers at its top and is itself imported only when a training begins.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset

from iterdpo.training.memory import Totals, pairs_in
from iterdpo.training.resumable import ResumableTrainer
from iterdpo.training.spec import PairExample


class PairsTrainer(ResumableTrainer):
    """A trainer whose every step is the mean over all of the step's pairs.

    TRL divides each micro batch's mean by their number. Where they are unequal that is not the mean
    over the batch: an incomplete last step, or the tokens that a likelihood is a mean over. Here
    each is weighted by its share of the step's pairs or tokens.

    Micro batches are those of TRL's ``DataCollatorForPreference``: ``2B`` rows, ``B`` of chosen and
    then ``B`` of rejected answers, each behind its prompt, with ``completion_mask`` 1 on answers.
    """

    counted: ClassVar[str] = "completion_mask"
    """Name of the mask of the tokens that a likelihood is a mean over."""
    loss_is_scaled_for_ga: Any = True
    """The weights of the parts hold their shares: nothing is to be divided any more."""

    @staticmethod
    def dataset(examples: Sequence[PairExample]) -> Dataset:
        """Return the token ids of pairs as the collator reads them."""
        columns = {
            name: [np.asarray(getattr(example, name), np.int32) for example in examples]
            for name in ("prompt_ids", "chosen_ids", "rejected_ids")
        }
        ids = pa.list_(pa.int32())
        return Dataset(pa.table({name: pa.array(rows, ids) for name, rows in columns.items()}))

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        samples, items = super().get_batch_samples(*args, **kwargs)
        self._step = Totals.of(samples, self.counted)
        return samples, items

    def rows_in(self, inputs: dict[str, torch.Tensor]) -> int:
        return pairs_in(inputs)
