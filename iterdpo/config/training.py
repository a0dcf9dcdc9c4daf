"""How a policy is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from iterdpo.config.types import Count, NonNegative, Positive, Share, checked
from iterdpo.settings import CountsElsewhere, Keyless

Loss = Literal[
    "sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot",
    "aot_unpaired", "apo_zero", "apo_down", "discopop", "sft", "sigmoid_norm",
]  # fmt: skip


@checked
@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """What every training has, whatever it learns from: steps, their size, and where they run."""

    learning_rate: Positive
    schedule: Literal["constant", "linear", "cosine"]
    warmup: Share
    """Share of the steps over which the learning rate rises from 0; the last step is a full one."""
    epochs: Positive
    batch_size: Count
    """Pairs or examples an optimizer step."""
    micro_batch_size: Count
    """Of these side by side; ``batch_size`` must be a multiple. The step's gradient is that of the
    whole batch whatever the size, but for ``aot``, which compares the pairs side by side."""
    max_grad_norm: Positive
    weight_decay: NonNegative
    optimizer: str
    """A name of transformers' ``OptimizerNames``, such as ``adamw_torch``. Paged ones
    (``paged_adamw_8bit``, ``paged_adamw_32bit``, ...) need CUDA."""
    gradient_checkpointing: bool
    max_length: Count | None
    """Longest prompt plus answer in tokens; longer ends are cut, and what is cut off before its
    answer is left out. Given pairs are not cut but dropped. Null for no limit."""
    memory_gib: Annotated[Positive | None, Keyless("memory")]
    """What it takes of a GPU at its peak, in GiB, where that is known better than by the estimate,
    which is what null stands for. A run that needs more than there is stops at its start."""
    checkpoint_steps: Annotated[Count | None, Keyless("what a kill costs")]
    """Optimizer steps between checkpoints: the most that a kill costs. Null for none."""
    process: Annotated[Literal["inline", "spawn", "launch"], Keyless("place")]
    """Train in this process, in a child that gives its memory back for certain, or in several
    children that share each step, one a GPU, which is experimental."""
    processes: Annotated[
        Count | None, Keyless("place; sums are added in another order, as on another machine")
    ]
    """Of ``launch``: how many, each with the whole model. Null for one a visible GPU. The step and
    its gradient are the same for any number, up to rounding."""
    step0_tolerance: Annotated[Positive, Keyless("stops a run, changes none")]
    """Largest allowed difference, in nats, between the first batch's loss and log-probs and
    independently computed ones."""


@checked
@dataclass(frozen=True, kw_only=True)
class TrainingConfig(OptimizerConfig):
    """Preference training on one iteration's pairs."""

    method: Literal["dpo", "orpo"]
    """``dpo``: TRL's DPOTrainer, against a reference, with one of its losses. ``orpo``: TRL's
    ORPOTrainer, the likelihood of the chosen answers and their odds over the rejected ones, without
    a reference (arXiv 2403.07691)."""
    beta: Positive
    """Strength of the pull to the reference (DPO, arXiv 2305.18290, equation 7); in ``orpo`` the
    weight of the odds ratio, which its paper calls lambda (equation 6)."""
    loss: tuple[Loss, ...]
    """TRL's names; several are summed with ``loss_weights``. Empty for ``orpo``."""
    loss_weights: tuple[NonNegative, ...]
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)]
    """Share of flipped labels assumed by ``robust`` and ``exo_pair``."""
    reference: Annotated[
        Literal["previous", "initial", "base", "none"],
        CountsElsewhere("enters as the reference's own key: nothing differs before M2"),
    ]
    """What DPO measures against: the policy that an iteration starts from, M0, or the bare base.
    ``none`` for ``orpo``, and only there."""
