"""TRL's DPOTrainer, given the engine's own tokens and held to the run-time proofs.

This module imports TRL at its top and is itself imported only when a training begins.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from safetensors import SafetensorError
from transformers import PrinterCallback, TrainerCallback
from transformers.trainer import TRAINER_STATE_NAME
from trl import DPOConfig, DPOTrainer

from iterdpo.stopping import StopRequest
from iterdpo.training.checkpoints import Checkpoints
from iterdpo.training.divergence import check_finite, check_loss, check_weights
from iterdpo.training.memory import Part, free_memory, halved, is_out_of_memory, pairs_in, split
from iterdpo.training.proofs import StepZero, check_gradients, check_step0
from iterdpo.training.resuming import Progress, restore_weights, save_weights
from iterdpo.training.spec import Example, TrainSpec

log = logging.getLogger(__name__)

_SCHEDULES = {"constant": "constant_with_warmup", "linear": "linear", "cosine": "cosine"}
_RECORDED = (
    "loss", "grad_norm", "learning_rate", "rewards/chosen", "rewards/rejected",
    "rewards/accuracies", "rewards/margins", "logps/chosen", "logps/rejected", "entropy",
)  # fmt: skip


class PairTrainer(DPOTrainer):
    """A ``DPOTrainer`` that checks its steps, keeps its history, and survives.

    *Resuming.* ``transformers`` restores the optimizer, the schedule, the random generators and the
    place in the data, each from the file that it writes itself; the policy, which it cannot restore
    beside a second adapter, is written and restored here. On the CPU a resumed training ends with
    the same bytes as one that was never stopped; so it does on a GPU as far as its kernels repeat.

    *Out of memory.* Micro batches are computed in parts of half the size from there on. The steps
    done before are not touched; the one at hand is begun again, with the same pairs in the same
    order. The parts add up to the loss and the gradient of the whole, in another order of addition:
    what follows is equal to an undisturbed training up to rounding, not bit by bit. The history's
    rewards and log-probs are means over the parts, which can be of unequal size.
    """

    def __init__(self, spec: TrainSpec, stop: StopRequest, **kwargs: Any) -> None:
        self.spec, self.stop = spec, stop
        self.progress = Progress([spec.training.micro_batch_size])
        self.checkpoints: Checkpoints | None = None
        self._first_parts: list[StepZero] = []
        self._micro_batches: list[dict[str, torch.Tensor]] = []
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
        if self.progress.step_zero is None:
            unwrapped = self.accelerator.unwrap_model(self.model)
            self._first_parts.append(
                check_step0(
                    unwrapped,
                    inputs,
                    loss.item(),
                    self.spec.training,
                    tuple(self.loss_types),
                    tuple(self.loss_weights),
                    self.spec.reference_is_start,
                )
            )
        return loss

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """Take the micro batches of the next optimizer step."""
        self._micro_batches = []
        return super().get_batch_samples(*args, **kwargs)

    def training_step(
        self, model: Any, inputs: dict[str, torch.Tensor], num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """Add a micro batch's gradient; when memory runs out, that of the whole step so far again.

        Memory can run out when some weights have their share of the gradient and others do not.
        """
        self._micro_batches.append(inputs)
        due, sizes = [inputs], self.progress.micro_batch_sizes
        while True:
            try:
                for batch in due:
                    loss = self._add_gradient(model, batch, num_items_in_batch)
                break
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                sizes.append(halved(batch, sizes, self.loss_types, self.state.global_step + 1))
            # Not in the handler, where the error still holds on to the tensors of its frames.
            model.zero_grad()
            self._metrics["train"].clear()
            self._first_parts.clear()
            free_memory()
            due = self._micro_batches
        if self.progress.step_zero is None:
            self.progress.step_zero = StepZero.of_parts(self._first_parts)
        return loss

    def _add_gradient(
        self, model: Any, inputs: dict[str, torch.Tensor], num_items_in_batch: Any
    ) -> torch.Tensor:
        pairs = self.progress.micro_batch_sizes[-1]
        kept = self.loss_types, self.loss_weights
        whole = Part(inputs, *kept)
        parts = [whole] if pairs_in(inputs) <= pairs else split(inputs, pairs, *kept)
        total: torch.Tensor | None = None
        try:
            for part in parts:
                self.loss_types, self.loss_weights = part.losses, part.weights
                loss: torch.Tensor = super().training_step(  # type: ignore[no-untyped-call]
                    model, part.inputs, num_items_in_batch
                )
                total = loss if total is None else total + loss
        finally:
            self.loss_types, self.loss_weights = kept
        assert total is not None
        return total

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        """Return the norm of the step's gradient; its update comes next, so it is stopped here."""
        norm = super()._get_grad_norm(model, grad_norm)  # type: ignore[no-untyped-call]
        means = {
            name: sum(values) / len(values)
            for name, values in self._metrics["train"].items()
            if name in _RECORDED
        }
        values = {"loss": self._tr_loss.item(), "grad_norm": float(norm), **means}
        check_finite(values, self.state.global_step + 1, self.spec.training)
        return norm

    def checkpoint_is_due(self) -> bool:
        """Say whether the step that is done ends with a checkpoint; the last one ends training."""
        every, done = self.spec.checkpoint_steps, self.state.global_step
        if self.checkpoints is None or every is None or done == self.state.max_steps:
            return False
        return done % every == 0 or self.stop.requested

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write a checkpoint that is complete or not there, if the policy is worth it."""
        assert self.checkpoints is not None
        check_weights(self.model, self.progress.history, self.spec.training)
        try:
            self.checkpoints.write(self.state.global_step, self._write_state)
        except (OSError, RuntimeError, SafetensorError) as error:  # what a full disk can raise
            log.warning(
                "no checkpoint of training step %d could be written to %s (%s): training goes on, "
                "and if it is stopped, it will go on from an older one or from its start",
                self.state.global_step, self.checkpoints.directory, " ".join(str(error).split()),
            )  # fmt: skip

    def _write_state(self, work: Path) -> None:
        self._save_optimizer_and_scheduler(str(work))
        self._save_scaler(str(work))
        self._save_rng_state(str(work))
        state = dataclasses.replace(self.state, log_history=[])  # progress has what is needed of it
        state.save_to_json(str(work / TRAINER_STATE_NAME))
        save_weights(self.model, work)
        self.progress.write(work)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        restore_weights(self.model, Path(resume_from_checkpoint))


class _Watch(TrainerCallback):
    """Checks the first gradients, records the history, asks for checkpoints, reports progress."""

    def __init__(self, trainer: PairTrainer, advance: Callable[[int, int], None] | None):
        self.trainer = trainer
        self.advance = advance
        self.gradients_checked = False

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not self.gradients_checked:
            check_gradients(kwargs["model"])
            self.gradients_checked = True

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        logs = kwargs["logs"]
        if "loss" in logs:
            values = {name: float(logs[name]) for name in _RECORDED if name in logs}
            history = self.trainer.progress.history
            history.append({"step": state.global_step} | values)
            check_loss(history, self.trainer.spec.training)
            # Not before: only now is the step's entry in the history.
            control.should_save = self.trainer.checkpoint_is_due()
            # After a checkpoint in ``on_save``; never after the last step, whose result is near.
            if not control.should_save and state.global_step < state.max_steps:
                self.trainer.stop.check()

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer.stop.check()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.advance is not None:
            self.advance(state.global_step, state.max_steps)


def make_trainer(
    model: Any,
    tokenizer: Any,
    examples: Sequence[Example],
    spec: TrainSpec,
    advance: Callable[[int, int], None] | None,
    stop: StopRequest | None = None,
) -> PairTrainer:
    """Return a trainer for ``examples``. TRL adds the reference adapter while constructing it."""
    import tempfile

    training = spec.training
    columns = ("prompt_ids", "chosen_ids", "rejected_ids")
    rows = [{name: list(getattr(example, name)) for name in columns} for example in examples]
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
        use_cpu=not torch.cuda.is_available(),
        seed=spec.seed,
        logging_steps=1,
        # The filter would put the mean of earlier losses in the place of one that is not finite.
        logging_nan_inf_filter=False,
        save_strategy="no",  # _Watch asks for checkpoints
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        remove_unused_columns=False,
    )
    trainer = PairTrainer(
        spec,
        stop or StopRequest(),
        model=model,
        args=arguments,
        processing_class=tokenizer,
        train_dataset=Dataset.from_list(rows),
    )
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(_Watch(trainer, advance))
    return trainer
