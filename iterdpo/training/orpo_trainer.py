"""TRL's ORPOTrainer, given the engine's own tokens and held to the run-time checks.

This module imports TRL at its top and is itself imported only when a training begins.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from datasets import Dataset
from trl.experimental.orpo import ORPOConfig, ORPOTrainer
from trl.trainer.dpo_trainer import DataCollatorForPreference

from iterdpo.runtime.signals import StopRequest
from iterdpo.training.arguments import arguments_of
from iterdpo.training.checks import IGNORED_LABEL, StepZero, check_odds
from iterdpo.training.learners import Learner
from iterdpo.training.memory import BatchPart, split
from iterdpo.training.pairs_trainer import PairsTrainer
from iterdpo.training.spec import OrpoSpec, PairExample

LIKELIHOOD, ODDS = "nll", "odds"


class ResumableOrpoTrainer(PairsTrainer, ORPOTrainer):
    """An ``ORPOTrainer`` of pairs that are token ids already.

    TRL's loss is taken as it is: the likelihood is a mean over all tokens of prompts and chosen
    answers, and the odds are of mean log-probs over an answer's tokens. Both terms are weighted by
    their shares of the step.
    """

    spec: OrpoSpec

    counted = "attention_mask"
    recorded = (
        "loss", "grad_norm", "learning_rate", "nll_loss", "log_odds_ratio", "log_odds_chosen",
        "rewards/chosen", "rewards/rejected", "rewards/accuracies", "rewards/margins",
        "logps/chosen", "logps/rejected",
    )  # fmt: skip
    losses = (LIKELIHOOD, ODDS)

    @staticmethod
    def arguments(spec: OrpoSpec) -> ORPOConfig:
        # TRL cuts texts that it tokenizes; these are cut by the collator.
        return arguments_of(ORPOConfig, spec, beta=spec.training.beta, max_length=0)

    @staticmethod
    def facts(examples: Sequence[PairExample]) -> dict[str, Any]:
        """Return that the history's log-probs are means over an answer's tokens."""
        return {"logps": "mean"}

    def __init__(
        self, spec: OrpoSpec, learner: Learner, stop: StopRequest, train_dataset: Dataset, **kw: Any
    ) -> None:
        self._of_tokens = self._of_pairs = 1.0
        # Padding is masked, so any token will do; not every tokenizer has one for it.
        collator = DataCollatorForPreference(pad_token_id=0, max_length=spec.training.max_length)
        # Of rows that are there when it is made, TRL would tokenize texts.
        none = train_dataset.select([])
        super().__init__(spec, learner, stop, data_collator=collator, train_dataset=none, **kw)
        self.train_dataset = train_dataset
        self._metrics = self._stored_metrics  # what the other trainers call it

    def parts(self, inputs: dict[str, torch.Tensor], rows: int) -> Iterator[BatchPart]:
        return split(inputs, rows, list(self.losses), [1.0, 1.0], self._step, self.counted)

    def add_part(self, model: Any, part: BatchPart, num_items_in_batch: Any) -> torch.Tensor:
        self._of_tokens, self._of_pairs = part.weights
        return super().add_part(model, part, num_items_in_batch)

    def get_batch_loss_metrics(self, model: Any, batch: Any, train_eval: Any = "train") -> Any:
        """Hand TRL a batch under the names that it knows."""
        halves: Any = by_side(batch)
        loss, metrics = super().get_batch_loss_metrics(model, halves, train_eval)
        metrics["nll_loss"] /= self._of_tokens  # of the part itself, not its share
        return loss, metrics

    def concatenated_forward(self, model: Any, batch: Any) -> Any:
        forward: Any = super().concatenated_forward(model, batch)
        return (*forward[:4], forward[4] * self._of_tokens, *forward[5:])

    def odds_ratio_loss(self, policy_chosen_logps: Any, policy_rejected_logps: Any) -> Any:
        losses, *others = super().odds_ratio_loss(policy_chosen_logps, policy_rejected_logps)
        return (losses * self._of_pairs, *others)

    def check_first(self, inputs: dict[str, Any], loss: float, tokens: Any) -> StepZero:
        training = self.spec.training
        return check_odds(
            self.accelerator.unwrap_model(self.model),
            inputs,
            loss,
            self._metrics["train"]["log_odds_ratio"][-1],
            training.beta,
            (self._of_tokens, self._of_pairs),
            training.step0_tolerance,
        )


def by_side(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return a batch of ``2B`` rows under the names that ORPOTrainer gives the two halves."""
    labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, IGNORED_LABEL)
    sides = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
    return {
        f"{side}_{name}": half
        for name, tensor in (sides | {"labels": labels}).items()
        for side, half in zip(("chosen", "rejected"), tensor.chunk(2), strict=True)
    }
