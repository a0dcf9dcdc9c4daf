"""How a policy is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from iterdpo.config.types import Count, NonNegative, Positive, Share, checked

Loss = Literal[
    "sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot",
    "aot_unpaired", "apo_zero", "apo_down", "discopop", "sft", "sigmoid_norm",
]  # fmt: skip


@checked
@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """DPO on one iteration's pairs (TRL's DPOTrainer)."""

    beta: Positive
    """Strength of the pull to the reference (DPO, arXiv 2305.18290, equation 7)."""
    loss: tuple[Loss, ...]
    """TRL's names; several are summed with ``loss_weights``."""
    loss_weights: tuple[NonNegative, ...]
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)]
    """Share of flipped labels assumed by ``robust`` and ``exo_pair``."""
    reference: Literal["previous", "initial", "base"]
    """What DPO measures against: the policy that wrote the pairs, M0, or the bare base."""
    learning_rate: Positive
    schedule: Literal["constant", "linear", "cosine"]
    warmup: Share
    """Share of the steps over which the learning rate rises."""
    epochs: Positive
    batch_size: Count
    """Pairs an optimizer step."""
    micro_batch_size: Count
    """Pairs side by side; ``batch_size`` must be a multiple."""
    max_grad_norm: Positive
    weight_decay: NonNegative
    optimizer: str
    """A name of transformers' ``OptimizerNames``, such as ``adamw_torch``."""
    gradient_checkpointing: bool
    max_length: Count | None
    """Longest prompt plus answer in tokens; longer ends are cut. Null for no limit."""
    checkpoint_steps: Count | None
    """Optimizer steps between checkpoints: the most that a kill costs. Null for none."""
    process: Literal["inline", "spawn"]
    """Train in this process, or in a child that gives its memory back for certain."""
    step0_tolerance: Positive
    """Largest allowed difference, in nats, between the first batch's loss and log-probs and
    independently computed ones."""
