"""What a checkpoint holds besides the libraries' own state, and the way there and back."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from iterdpo.errors import LineageError
from iterdpo.training.checkpoints import Checkpoint
from iterdpo.training.checks import StepZero

_POLICY_FILE = "policy.safetensors"
_PROGRESS_FILE = "progress.json"


@dataclass
class Progress:
    """What a training has found out so far; a resumed one continues as if it had itself."""

    micro_batch_sizes: list[int]
    """Pairs side by side, from the first size to the present one, each about half the one before:
    more than one where memory ran out."""
    step_zero: StepZero | None = None
    history: list[dict[str, float]] = field(default_factory=list)
    """One entry an optimizer step."""
    canary_before: tuple[tuple[float, ...], ...] = ()
    """log p of each token of the canary's texts under the policy before training, in nats."""
    canary_noise: float = 0.0

    def write(self, directory: Path) -> None:
        """Write into a checkpoint's directory. Floats come back bit by bit."""
        text = json.dumps(dataclasses.asdict(self), allow_nan=False)
        (directory / _PROGRESS_FILE).write_text(text + "\n", "utf-8")

    @classmethod
    def read(cls, checkpoint: Checkpoint) -> Progress:
        values: dict[str, Any] = json.loads(
            (checkpoint.directory / _PROGRESS_FILE).read_text("utf-8")
        )
        values["step_zero"] = StepZero(**values["step_zero"])
        values["canary_before"] = tuple(tuple(text) for text in values["canary_before"])
        return cls(**values)


def save_weights(model: Any, directory: Path) -> None:
    """Write every weight that the optimizer updates, in its own type, into a checkpoint."""
    from safetensors.torch import save_file

    weights = {name: weight.data.contiguous() for name, weight in trained_weights(model).items()}
    save_file(weights, directory / _POLICY_FILE)


def restore_weights(model: Any, directory: Path) -> None:
    """Put the weights of a checkpoint back in their places, bit by bit.

    Raises:
        LineageError: it holds other weights than ``model`` trains, or of another type or shape.
    """
    from safetensors.torch import load_file

    stored, trained = load_file(directory / _POLICY_FILE), trained_weights(model)
    kinds = [
        {name: (weight.shape, weight.dtype) for name, weight in weights.items()}
        for weights in (stored, trained)
    ]
    if kinds[0] != kinds[1]:
        raise LineageError(f"the checkpoint {directory} does not hold the weights trained here")
    for name, weight in trained.items():
        weight.data.copy_(stored[name])


def trained_weights(model: Any) -> dict[str, Any]:
    """Return the weights that the optimizer updates, by name."""
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
