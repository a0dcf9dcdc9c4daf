"""What is done between the steps of every training.

This module imports transformers at its top and is itself imported only when a training begins.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from transformers import PrinterCallback, TrainerCallback

from iterdpo.training.checks import tensors_sha256
from iterdpo.training.disk_space import require_disk_space
from iterdpo.training.divergence import check_loss
from iterdpo.training.resuming import trained_weights

if TYPE_CHECKING:
    from iterdpo.training.resumable import ResumableTrainer

Advance = Callable[[int, int], None]
"""Called with (steps done, steps in all)."""


class _Watch(TrainerCallback):
    """Checks the first gradients, keeps history and checkpoints, and reports progress."""

    def __init__(self, trainer: ResumableTrainer, advance: Advance | None):
        self.trainer = trainer
        self.advance = advance
        self.gradients_checked = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if (peers := self.trainer.peers).size > 1:
            weights = trained_weights(self.trainer.learner.model)
            peers.assert_equal_across_ranks(
                "the policy that training starts from", tensors_sha256(weights)
            )
        if peers.is_main_process:  # the only one that writes
            model, spec = self.trainer.learner.model, self.trainer.spec
            require_disk_space(model, spec, state.max_steps, state.global_step)

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
            if self.trainer.checkpoint_is_due():
                self.trainer.write_checkpoint()
            if state.global_step < state.max_steps:  # the last step's result is near
                self.trainer.stop.check()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.advance is not None:
            self.advance(state.global_step, state.max_steps)


def watched(trainer: ResumableTrainer, advance: Advance | None) -> None:
    """Have ``trainer`` checked and recorded step by step."""
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(_Watch(trainer, advance))
