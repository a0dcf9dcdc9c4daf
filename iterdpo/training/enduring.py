"""What every trainer here has in common: it checks its steps, keeps its history, and survives.

This module imports transformers at its top and is itself imported only when a training begins.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors import SafetensorError
from transformers import PrinterCallback, Trainer, TrainerCallback
from transformers.trainer import TRAINER_STATE_NAME

from iterdpo.stopping import StopRequest
from iterdpo.training.checkpoints import Checkpoints
from iterdpo.training.divergence import check_finite, check_loss, check_weights
from iterdpo.training.learners import Learner
from iterdpo.training.memory import Part, free_memory, halved, is_out_of_memory
from iterdpo.training.proofs import StepZero
from iterdpo.training.resuming import Progress, restore_weights, save_weights
from iterdpo.training.spec import Spec

log = logging.getLogger(__name__)

Advance = Callable[[int, int], None]
"""Called with (steps done, steps in all)."""

_SCHEDULES = {"constant": "constant_with_warmup", "linear": "linear", "cosine": "cosine"}


class EnduringTrainer(Trainer):
    """Goes before one of TRL's trainers among the bases of a class.

    *Accumulation.* However many micro batches make up an optimizer step, its loss and gradient are
    those of the whole batch up to rounding, and the proof of step 0 covers all of the first step.

    *Resuming.* ``transformers`` restores the optimizer, the schedule, the random generators and the
    place in the data, each from the file that it writes itself; the policy, which it cannot restore
    beside a second adapter, is written and restored here. On the CPU a resumed training ends with
    the same bytes as one that was never stopped; so it does on a GPU as far as its kernels repeat.

    *Out of memory.* Micro batches are computed in parts of half the size from there on. The steps
    done before are not touched; the one at hand is begun again, with the same rows in the same
    order. The parts add up to the loss and the gradient of the whole, in another order of addition:
    what follows is equal to an undisturbed training up to rounding, not bit by bit. What the
    history holds besides the loss are means over the parts, which can be of unequal size.
    """

    recorded: ClassVar[tuple[str, ...]]
    """What a step's entry in the history holds, of what TRL logs."""
    losses: tuple[str, ...] = ()
    """Names of the losses that are summed, where there are several kinds."""

    _metrics: Any
    _tr_loss: torch.Tensor

    def __init__(self, spec: Spec, learner: Learner, stop: StopRequest, **kwargs: Any) -> None:
        self.spec, self.learner, self.stop = spec, learner, stop
        self.progress = Progress([spec.training.micro_batch_size])
        self.checkpoints: Checkpoints | None = None
        self._first_parts: list[StepZero] = []
        self._micro_batches: list[dict[str, torch.Tensor]] = []
        super().__init__(**kwargs)

    def rows_in(self, inputs: dict[str, torch.Tensor]) -> int:
        """Return how many pairs or examples a micro batch holds."""
        raise NotImplementedError

    def parts(self, inputs: dict[str, torch.Tensor], rows: int) -> Iterator[Part]:
        """Yield a micro batch in parts of at most ``rows`` that add up to its share of the step."""
        raise NotImplementedError

    def add_part(self, model: Any, part: Part, num_items_in_batch: Any) -> torch.Tensor:
        """Add the gradient of a part and return its loss."""
        loss: torch.Tensor = super().training_step(model, part.inputs, num_items_in_batch)
        return loss

    def check_first(self, inputs: dict[str, Any], loss: float, tokens: Any) -> StepZero:
        """Compare the loss of a part of the first step with independent arithmetic."""
        raise NotImplementedError

    def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        """Keep the token ids as they are instead of tokenizing texts again."""
        return dataset

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        loss: Any = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        if self.progress.step_zero is None:
            self._first_parts.append(self.check_first(inputs, loss.item(), num_items_in_batch))
        return loss

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Let the learning rate rise over a share of the steps, and the last be a full one.

        The first step of a rise has a learning rate of 0: were it the only one, nothing would be
        learned. ``transformers`` reads a share of 1 as a single step.
        """
        rising = math.ceil(num_training_steps * self.spec.training.warmup)
        self.args.warmup_steps = max(0, min(rising, num_training_steps - 1))
        return super().create_scheduler(num_training_steps, optimizer)

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
                rows, width = self.rows_in(batch), batch["input_ids"].shape[1]
                step = self.state.global_step + 1
                sizes.append(halved(rows, width, sizes, self.losses, step, self.spec))
            # Not in the handler, where the error still holds on to the tensors of its frames.
            model.zero_grad()
            self._metrics["train"].clear()
            self._first_parts.clear()
            free_memory()
            due = self._micro_batches
        whole = len(self._micro_batches) == self.current_gradient_accumulation_steps
        if self.progress.step_zero is None and whole:
            self.progress.step_zero = StepZero.of_parts(self._first_parts)
        return loss

    def _add_gradient(
        self, model: Any, inputs: dict[str, torch.Tensor], num_items_in_batch: Any
    ) -> torch.Tensor:
        total = torch.zeros((), device=self.args.device)
        for part in self.parts(inputs, self.progress.micro_batch_sizes[-1]):
            total = total + self.add_part(model, part, num_items_in_batch)
        return total

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        """Return the norm of the step's gradient; its update comes next, so it is stopped here."""
        norm = super()._get_grad_norm(model, grad_norm)  # type: ignore[no-untyped-call]
        means = {
            name: sum(values) / len(values)
            for name, values in self._metrics["train"].items()
            if name in self.recorded
        }
        values = {"loss": self._tr_loss.item(), **means}
        if not self._is_scaled_too_far(float(norm)):
            values["grad_norm"] = float(norm)
        check_finite(values, self.state.global_step + 1, self.spec)
        return norm

    def _is_scaled_too_far(self, norm: float) -> bool:
        """Say whether a gradient overflowed that a smaller scale of float16's losses would mend.

        That happens now and then: the scaler leaves the step out and halves its scale. The history
        has no norm of such a step.
        """
        scaler = self.accelerator.scaler  # None but for float16 on a GPU
        return not math.isfinite(norm) and scaler is not None and scaler.get_scale() > 1.0

    def checkpoint_is_due(self) -> bool:
        """Say whether the step that is done ends with a checkpoint; the last one ends training."""
        every, done = self.spec.checkpoint_steps, self.state.global_step
        if self.checkpoints is None or every is None or done == self.state.max_steps:
            return False
        return done % every == 0 or self.stop.requested

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write a checkpoint that is complete or not there, if the policy is worth it."""
        assert self.checkpoints is not None
        check_weights(self.model, self.progress.history, self.spec)
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

    def __init__(self, trainer: EnduringTrainer, advance: Advance | None):
        self.trainer = trainer
        self.advance = advance
        self.gradients_checked = False

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not self.gradients_checked:
            self.trainer.learner.check_gradients()
            self.gradients_checked = True

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        logs = kwargs["logs"]
        if "loss" in logs:
            values = {name: float(logs[name]) for name in self.trainer.recorded if name in logs}
            if not math.isfinite(values.get("grad_norm", 0.0)):
                del values["grad_norm"]  # of a step that was left out
            history = self.trainer.progress.history
            history.append({"step": state.global_step} | values)
            check_loss(history, self.trainer.spec)
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


def watched(trainer: EnduringTrainer, advance: Advance | None) -> None:
    """Have ``trainer`` checked and recorded step by step."""
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(_Watch(trainer, advance))


def arguments_of(spec: Spec) -> dict[str, Any]:
    """Return the arguments that TRL's trainers share."""
    import tempfile

    training = spec.training
    return {
        "output_dir": tempfile.gettempdir(),
        "learning_rate": training.learning_rate,
        "lr_scheduler_type": _SCHEDULES[training.schedule],
        "num_train_epochs": training.epochs,
        "per_device_train_batch_size": training.micro_batch_size,
        "gradient_accumulation_steps": training.batch_size // training.micro_batch_size,
        "max_grad_norm": training.max_grad_norm,
        "weight_decay": training.weight_decay,
        "optim": training.optimizer,
        "gradient_checkpointing": training.gradient_checkpointing,
        "bf16": spec.base.dtype == "bfloat16",
        "fp16": spec.base.dtype == "float16",
        "use_cpu": not torch.cuda.is_available(),
        "seed": spec.seed,
        "logging_steps": 1,
        # The filter would put the mean of earlier losses in the place of one that is not finite.
        "logging_nan_inf_filter": False,
        "save_strategy": "no",  # _Watch asks for checkpoints
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "remove_unused_columns": False,
    }


def on_one_device(arguments: Any) -> Any:
    """Return training arguments that use the first GPU alone, however many are visible."""
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments
