"""Whether a written checkpoint is the model that it is said to be: its logits against the policy's.

The policy is loaded anew, its adapter beside the base and not merged, and everything is computed in
float32, so that what differs is the rounding of the sum of the weights and nothing else.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iterdpo.errors import LineageError, UserError
from iterdpo.models.canary import CANARY_FILE, Canary
from iterdpo.models.loading import free_memory
from iterdpo.records import Policy

if TYPE_CHECKING:
    import torch

TEXTS = 4
"""Texts to compare on."""
LONGEST = 256
"""Tokens of a text that are read, from its end."""
POSITIONS = 32
"""Positions of each text whose logits are compared, from its end."""
EPSILONS = 8
"""Allowed difference of the logits, in epsilons of the type that the weights are written in. Random
models of 2 to 32 layers, rounded, differ by 0.9 to 1.6."""
FLOOR = 1e-4
"""Allowed in any type: two orders of summation in float32 differ by as much."""
MOST_LOST = 0.5
"""Allowed share of the adapter's effect that rounding may cost."""


@dataclass(frozen=True, slots=True)
class CheckpointCheck:
    """How near a checkpoint is to its policy. Logits are taken less their mean at each position,
    which softmax does not see.
    """

    texts: int
    difference: float
    """Root mean square of (checkpoint - policy) over that of the policy's logits."""
    tolerance: float
    lost: float | None
    """Root mean square of (checkpoint - policy) over that of (base - policy): 0 where all of the
    adapter is there, 1 where none is. None where the adapter changes nothing."""


def check_checkpoint(
    policy: Policy, checkpoint: Path, dtype: str, trust_remote_code: bool = False
) -> CheckpointCheck:
    """Compare a merged checkpoint with base and adapter on texts that the training moved.

    Args:
        policy: whose adapter was merged; ``base.path`` is what it was merged into.
        checkpoint: the directory that was written.
        dtype: that its weights were rounded to.
        trust_remote_code: whether code that comes with the checkpoint may run.

    Raises:
        LineageError: the checkpoint computes another function than the policy.
        UserError: it is the policy's but for rounding, which took most of the adapter away.
    """
    assert policy.adapter is not None
    texts = _texts(Path(policy.adapter.path).parent / CANARY_FILE)
    base, held = _policy_logits(policy, policy.adapter.path, texts, trust_remote_code)
    free_memory()
    written = _logits(_load(str(checkpoint), trust_remote_code), texts)
    found = compared(base, held, written, dtype)
    if found.difference > found.tolerance:
        raise LineageError(
            f"the merged checkpoint differs from {policy.name} on {found.texts} texts: the root "
            f"mean square of the difference is {found.difference:.2g} of the logits', and "
            f"{found.tolerance:.2g} is allowed in {dtype}"
        )
    if found.lost is not None and found.lost > MOST_LOST:
        raise UserError(
            f"--dtype {dtype}: rounding the weights to it takes away {found.lost:.0%} of what the "
            f"adapter of {policy.name} does; write and serve them with --dtype float32, or serve "
            "base and adapter unmerged"
        )
    return found


def compared(
    base: Sequence[torch.Tensor],
    policy: Sequence[torch.Tensor],
    written: Sequence[torch.Tensor],
    dtype: str,
) -> CheckpointCheck:
    """Return how near the logits ``written`` are to the policy's.

    Args:
        base: a tensor a text of (positions, vocabulary): the logits without the adapter.
        policy: likewise, with the adapter.
        written: likewise, of the checkpoint.
        dtype: that the checkpoint's weights were rounded to.
    """
    import torch

    off = _rms([a - b for a, b in zip(written, policy, strict=True)])
    moved = _rms([a - b for a, b in zip(base, policy, strict=True)])
    epsilon = float(torch.finfo(getattr(torch, dtype)).eps)
    return CheckpointCheck(
        texts=len(policy),
        difference=off / _rms(policy),
        tolerance=max(FLOOR, EPSILONS * epsilon),
        lost=off / moved if moved else None,
    )


def _rms(logits: Sequence[torch.Tensor]) -> float:
    """Return the root mean square over all texts, each position less its mean."""
    import torch

    flat = torch.cat([(text - text.mean(-1, keepdim=True)).flatten() for text in logits])
    return float(flat.square().mean().sqrt())


def _texts(canary: Path) -> list[list[int]]:
    most = sorted(Canary.read(canary).texts, key=lambda text: -abs(text.moved))[:TEXTS]
    found = [[*text.prompt_ids, *text.token_ids] for text in most]
    return [text[-LONGEST:] for text in found]


def _policy_logits(
    policy: Policy, adapter: str, texts: Sequence[list[int]], trust_remote_code: bool
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Return the logits without the adapter and with it."""
    from peft import PeftModel

    model = PeftModel.from_pretrained(_load(policy.base.path, trust_remote_code), adapter)
    with model.disable_adapter():
        base = _logits(model, texts)
    return base, _logits(model, texts)


def _load(checkpoint: str, trust_remote_code: bool) -> Any:
    from iterdpo.models.loading import load_plain

    return load_plain(checkpoint, "float32", "cpu", trust_remote_code=trust_remote_code)


def _logits(model: Any, texts: Sequence[list[int]]) -> list[torch.Tensor]:
    import torch

    model.eval()
    with torch.no_grad():
        return [
            model(input_ids=torch.tensor([text])).logits[0, -POSITIONS:].float().clone()
            for text in texts
        ]


def as_json(check: CheckpointCheck) -> dict[str, object]:
    """Return a check as plain data."""
    return dataclasses.asdict(check)
