"""TRL's DPOTrainer, given the engine's own tokens and held to the run-time proofs.

This module imports TRL at its top and is itself imported only when a training begins.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback
from trl import DPOConfig, DPOTrainer

from iterdpo.errors import UserError
from iterdpo.training.proofs import StepZero, check_gradients, check_step0
from iterdpo.training.spec import Example, TrainSpec

_SCHEDULES = {"constant": "constant_with_warmup", "linear": "linear", "cosine": "cosine"}
_RECORDED = (
    "loss", "grad_norm", "learning_rate", "rewards/chosen", "rewards/rejected",
    "rewards/accuracies", "rewards/margins", "logps/chosen", "logps/rejected", "entropy",
)  # fmt: skip


class PairTrainer(DPOTrainer):
    """A ``DPOTrainer`` that checks its first batch and keeps its history."""

    def __init__(self, spec: TrainSpec, **kwargs: Any) -> None:
        self.spec = spec
        self.step_zero: StepZero | None = None
        self.history: list[dict[str, float]] = []
        super().__init__(**kwargs)

    def _prepare_dataset(self, dataset: Dataset, *args: Any, **kwargs: Any) -> Dataset:
        """Keep the token ids as the engine wrote them instead of tokenizing texts again."""
        return dataset

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        loss = super().compute_loss(  # type: ignore[no-untyped-call]
            model, inputs, return_outputs, num_items_in_batch
        )
        if self.step_zero is None:
            unwrapped = self.accelerator.unwrap_model(self.model)
            self.step_zero = check_step0(
                unwrapped,
                inputs,
                loss.item(),
                self.spec.training,
                self.spec.reference_is_start,
            )
        return loss


class _Watch(TrainerCallback):
    """Checks the first gradients, records the history, and reports progress."""

    def __init__(self, history: list[dict[str, float]], advance: Callable[[int, int], None] | None):
        self.history = history
        self.advance = advance

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 0:
            check_gradients(kwargs["model"])

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        logs = kwargs["logs"]
        if "loss" in logs:
            values = {name: float(logs[name]) for name in _RECORDED if name in logs}
            if not all(math.isfinite(value) for value in values.values()):
                raise UserError(
                    f"training diverged at step {state.global_step}: loss {values['loss']}, "
                    f"gradient norm {values.get('grad_norm')}; lower training.learning_rate or "
                    "raise training.warmup"
                )
            self.history.append({"step": state.global_step} | values)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.advance is not None:
            self.advance(state.global_step, state.max_steps)


def make_trainer(
    model: Any,
    tokenizer: Any,
    examples: Sequence[Example],
    spec: TrainSpec,
    advance: Callable[[int, int], None] | None,
) -> PairTrainer:
    """Return a trainer for ``examples``. TRL adds the reference adapter while constructing it."""
    import tempfile

    training = spec.training
    columns = ("prompt_ids", "chosen_ids", "rejected_ids")
    rows = [{name: list(asdict(example)[name]) for name in columns} for example in examples]
    arguments = DPOConfig(
        output_dir=tempfile.gettempdir(),
        beta=training.beta,
        loss_type=list(training.loss),
        loss_weights=list(training.loss_weights),
        label_smoothing=training.label_smoothing,
        learning_rate=training.learning_rate,
        lr_scheduler_type=_SCHEDULES[training.schedule],
        warmup_steps=training.warmup,  # below 1 it is a share of all steps
        num_train_epochs=training.epochs,
        per_device_train_batch_size=training.micro_batch_size,
        gradient_accumulation_steps=training.batch_size // training.micro_batch_size,
        max_grad_norm=training.max_grad_norm,
        weight_decay=training.weight_decay,
        optim=training.optimizer,
        gradient_checkpointing=training.gradient_checkpointing,
        max_length=training.max_length,
        bf16=spec.base.dtype == "bfloat16",
        fp16=spec.base.dtype == "float16",
        seed=spec.seed,
        logging_steps=1,
        # The filter would put the mean of earlier losses in the place of one that is not finite.
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        remove_unused_columns=False,
    )
    trainer = PairTrainer(
        spec,
        model=model,
        args=arguments,
        processing_class=tokenizer,
        train_dataset=Dataset.from_list(rows),
    )
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(_Watch(trainer.history, advance))
    return trainer
