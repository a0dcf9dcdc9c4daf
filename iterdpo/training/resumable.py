"""What every trainer here has in common: it checks its steps, keeps its history, and survives.

This module imports transformers at its top and is itself imported only when a training begins.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors import SafetensorError
from transformers import Trainer
from transformers.trainer import TRAINER_STATE_NAME

from iterdpo.models.loading import free_memory
from iterdpo.models.out_of_memory import is_out_of_memory
from iterdpo.runtime.signals import StopRequest
from iterdpo.training.checkpoints import Checkpoints
from iterdpo.training.checks import StepZero
from iterdpo.training.distributed import ProcessGroup
from iterdpo.training.divergence import check_finite, check_weights
from iterdpo.training.learners import Learner
from iterdpo.training.memory import BatchPart, halved
from iterdpo.training.resuming import Progress, restore_weights, save_weights
from iterdpo.training.shared_step import SharedStep, seed_of
from iterdpo.training.spec import Spec

log = logging.getLogger(__name__)


class ResumableTrainer(Trainer):
    """Goes before one of TRL's trainers among the bases of a class.

    *Accumulation.* However many micro batches make up an optimizer step, its loss and gradient are
    those of the whole batch up to rounding, and the check of step 0 covers all of the first step.

    *Resuming.* ``transformers`` restores the optimizer, the schedule, the random generators and the
    place in the data, each from the file that it writes itself; the policy, which it cannot restore
    beside a second adapter, is written and restored here. On the CPU a resumed training ends with
    the same bytes as one that was never stopped; so it does on a GPU as far as its kernels repeat.

    *Out of memory.* Micro batches are computed in parts of half the size from there on. The steps
    done before are not touched; the one at hand is begun again, with the same rows in the same
    order. The parts add up to the loss and the gradient of the whole, in another order of addition:
    what follows is equal to an undisturbed training up to rounding, not bit by bit. What the
    history holds besides the loss are means over the parts, which can be of unequal size.

    *Several processes.* Each computes its share of a step's micro batches (``peers``), and what a
    step has found is put together once, after the last of them.
    """

    recorded: ClassVar[tuple[str, ...]]
    """What a step's entry in the history holds, of what TRL logs."""
    losses: tuple[str, ...] = ()
    """Names of the losses that are summed, where there are several kinds."""

    _metrics: Any

    def __init__(self, spec: Spec, learner: Learner, stop: StopRequest, **kwargs: Any) -> None:
        self.spec, self.learner, self.peers = spec, learner, ProcessGroup.here()
        # Several processes must stop after the same step, whichever of them hears a request first.
        self._heard, self.stop = stop, stop if self.peers.size == 1 else StopRequest()
        self._shared = SharedStep()
        self.progress = Progress([spec.training.micro_batch_size])
        self.checkpoints: Checkpoints | None = None
        self._first_parts: list[StepZero] = []
        self._micro_batches: list[tuple[int, dict[str, torch.Tensor]]] = []
        self._step_loss = torch.zeros(())
        super().__init__(**kwargs)

    @staticmethod
    def arguments(spec: Any) -> Any:
        """Return what TRL's trainer is to be made with."""
        raise NotImplementedError

    @staticmethod
    def dataset(examples: Any) -> Any:
        """Return examples as the rows that the trainer's collator reads."""
        raise NotImplementedError

    @staticmethod
    def facts(examples: Any) -> dict[str, Any]:
        """Return what the report holds of a method besides what it does of every one."""
        return {}

    def rows_in(self, inputs: dict[str, torch.Tensor]) -> int:
        """Return how many pairs or examples a micro batch holds."""
        raise NotImplementedError

    def parts(self, inputs: dict[str, torch.Tensor], rows: int) -> Iterator[BatchPart]:
        """Yield a micro batch in parts of at most ``rows`` that add up to its share of the step."""
        raise NotImplementedError

    def add_part(self, model: Any, part: BatchPart, num_items_in_batch: Any) -> torch.Tensor:
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
        self._step_loss = torch.zeros((), device=self.args.device)
        samples, items = super().get_batch_samples(*args, **kwargs)
        self._shared = SharedStep.of(samples) if self.peers.size > 1 else SharedStep()
        return samples, items

    def training_step(
        self, model: Any, inputs: dict[str, torch.Tensor], num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """Add a micro batch's gradient, if it is for this process to compute.

        Returns:
            Its loss. Of several processes, the step's loss with the last micro batch, and 0 before.
        """
        index = self._shared.reached
        self._shared.reached += 1
        loss = torch.zeros((), device=self.args.device)
        if self.peers.owns_micro_batch(index):
            loss = self._add_or_begin_again(model, index, inputs, num_items_in_batch)
        whole = self._shared.reached == self.current_gradient_accumulation_steps
        if self.peers.size > 1:
            self._shared.losses.append(float(loss))
            loss = self._put_together(model) if whole else torch.zeros_like(loss)
        if self.progress.step_zero is None and whole:
            self.progress.step_zero = StepZero.of_parts(self._first_parts)
        self._step_loss += loss
        return loss

    def _add_or_begin_again(
        self, model: Any, index: int, inputs: dict[str, torch.Tensor], num_items_in_batch: Any
    ) -> torch.Tensor:
        """Add a micro batch's gradient; when memory runs out, that of the whole step so far again.

        Memory can run out when some weights have their share of the gradient and others do not.
        """
        self._micro_batches.append((index, inputs))
        due, sizes = self._micro_batches[-1:], self.progress.micro_batch_sizes
        while True:
            try:
                for at, batch in due:
                    self._seed_dropout(at)
                    loss = self._add_gradient(model, batch, num_items_in_batch)
                return loss
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

    def _seed_dropout(self, index: int) -> None:
        """Make what an adapter drops a matter of the micro batch, whichever process computes it."""
        if self.spec.lora is not None and self.spec.lora.dropout > 0:
            torch.manual_seed(seed_of(self.spec.seed, self.state.global_step, index))

    def _put_together(self, model: Any) -> torch.Tensor:
        """Give every process the sum of all gradients and what all have found; return the loss."""
        if (
            self.accelerator.scaler is not None
        ):  # it wants a first loss, and not all may have had one
            self.accelerator.scaler.scale(torch.zeros((), device=self.args.device))
        metrics, sizes = self._metrics["train"], self.progress.micro_batch_sizes
        found = self._shared.exchange(
            self.peers,
            {name: [*map(float, metrics[name])] for name in self.recorded if name in metrics},
            self._first_parts,
            sizes[-1],
            self._heard.number,
        )
        for name in {name for one in found for name in one.metrics}:
            metrics[name] = [value for one in found for value in one.metrics.get(name, ())]
        self._first_parts = [part for one in found for part in one.first_parts]
        if (smallest := min(one.rows for one in found)) < sizes[-1]:
            sizes.append(smallest)
        self.stop.number = next((one.stop for one in found if one.stop is not None), None)
        self.peers.add_gradients(model.parameters())
        return torch.tensor(sum(one.loss for one in found), device=self.args.device)

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
        values = {"loss": self._step_loss.item(), **means}
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

    def write_checkpoint(self) -> None:
        """Write a checkpoint that is complete or not there, if the policy is worth it."""
        assert self.checkpoints is not None
        check_weights(self.model, self.progress.history, self.spec)
        if not self.peers.is_main_process:
            return
        try:
            self.checkpoints.write(self.state.global_step, self._write_state)
        except (OSError, RuntimeError, SafetensorError) as error:  # what a full disk can raise
            log.warning(
                "no checkpoint of optimizer step %d could be written to %s (%s): training goes "
                "on, and if it is stopped, it resumes from an older one or from its start",
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
