"""Whether the disk has room for what a training writes, looked at before its first step.

Every weight that is trained is written once as the result. A checkpoint holds it as well, with what
the optimizer keeps of it, and the newer checkpoint is in place before the older one is removed.
"""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iterdpo.errors import UserError
from iterdpo.runtime.formatting import disk_size
from iterdpo.training.resuming import trained_weights
from iterdpo.training.spec import Spec

log = logging.getLogger(__name__)

# What an optimizer keeps of a weight, in numbers of the weight's own type; most have Adam's two.
_NUMBERS = {"sgd": 0, "adafactor": 0, "lion": 1, "rmsprop": 1, "adagrad": 1, "ademamix": 3}


@dataclass(frozen=True, slots=True)
class Writes:
    """What a training still writes, in bytes."""

    result: int
    checkpoint: int
    """One of them; 0 where none is due."""
    at_once: int
    """The most that lies beside each other."""

    @property
    def least(self) -> int:
        """Without which the result could not be written beside a checkpoint."""
        return self.result + self.checkpoint


def writes(
    weights: int, parameters: int, optimizer: str, due: int, resumed: bool = False
) -> Writes:
    """Return what a training still writes.

    Args:
        weights: bytes of all trained weights, as they are held.
        parameters: how many numbers these are.
        optimizer: a name of transformers' ``OptimizerNames``. The state of those that are not known
            here is taken for Adam's.
        due: checkpoints to come.
        resumed: whether one is there already.
    """
    if not due:
        return Writes(weights, 0, weights)
    name = optimizer.removeprefix("paged_")
    numbers = next((count for known, count in _NUMBERS.items() if name.startswith(known)), 2)
    state = numbers * (parameters if "8bit" in name else weights)
    checkpoint = weights + state
    new = 1 if resumed or due == 1 else 2
    at_once = max(new * checkpoint, (0 if resumed else checkpoint) + weights)
    return Writes(weights, 0 if resumed else checkpoint, at_once)


def require_disk_space(model: Any, spec: Spec, steps: int, done: int) -> None:
    """Compare what a training still writes with what is free, where it keeps its checkpoints.

    Its result comes to the same disk. Nothing is looked at where it keeps none.

    Args:
        model: holds the weights that are trained.
        spec: of the training.
        steps: optimizer steps in all.
        done: of these, before now.

    Raises:
        UserError: there is less room than for the result and a checkpoint.
    """
    if spec.checkpoints is None:
        return
    trained = list(trained_weights(model).values())
    # The last step ends with the result and no checkpoint.
    every = spec.checkpoint_steps
    due = (steps - 1) // every - done // every if every else 0
    needs = writes(
        sum(weight.numel() * weight.element_size() for weight in trained),
        sum(weight.numel() for weight in trained),
        spec.training.optimizer,
        due,
        resumed=done > 0,
    )
    kept = Path(spec.checkpoints)
    place = next(at for at in (kept, *kept.parents) if at.exists())
    free = shutil.disk_usage(place).free
    name = f"{spec.section}.checkpoint_steps={every}"
    if free < needs.least:
        parts, other = f"{disk_size(needs.result)} for the trained weights", ""
        if needs.checkpoint:
            state = disk_size(needs.checkpoint)
            parts += f" and {state} for a checkpoint with the optimizer's state"
            other = f"; {spec.section}.checkpoint_steps=null keeps none ({name})"
        raise UserError(
            f"{place}: training needs {disk_size(needs.least)} of disk, {parts}, and "
            f"{disk_size(free)} are free: make room, or name another store, store.root=DIR{other}"
        )
    if free < needs.at_once:
        log.warning(
            "%s: %s are free, and checkpoints need %s at once, as the newer one is written before "
            "the older is removed (%s): what does not fit is left out, and a stopped training goes "
            "on from an older one",
            place, disk_size(free), disk_size(needs.at_once), name,
        )  # fmt: skip
