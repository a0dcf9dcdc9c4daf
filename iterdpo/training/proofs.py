"""What must be true of a training, checked while it runs. Each failure stops it.

- step 0: the first batch's loss and log-probs are those of independent arithmetic
- gradients reach the policy's adapter and nothing else
- the reference does not change
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from iterdpo.errors import LineageError
from iterdpo.training.losses import PairLogprobs, mixture

if TYPE_CHECKING:
    import torch

    from iterdpo.config.training import TrainingConfig

POLICY = "default"
REFERENCE = "ref"


@dataclass(frozen=True, slots=True)
class StepZero:
    """The first batch, as TRL computed it and as arithmetic from the papers does."""

    loss: float
    expected_loss: float
    largest_reward: float
    """Largest |beta * log-ratio| of the batch: 0 when the policy starts as its reference."""

    @classmethod
    def of_parts(cls, parts: Sequence[StepZero]) -> StepZero:
        """Return what holds for a batch whose loss is the sum of its parts' losses."""
        return cls(
            sum(part.loss for part in parts),
            sum(part.expected_loss for part in parts),
            max(part.largest_reward for part in parts),
        )


def batch_logprobs(
    model: Any,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    completion_mask: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ``(B,)`` summed log-probs of each row's completion, and its number of tokens.

    Args:
        model: called as it stands, with the adapter that is active.
        input_ids: ``(B, T)`` prompt and completion.
        attention_mask: ``(B, T)``, 0 on padding.
        completion_mask: ``(B, T)``, 1 on the completion's tokens.
    """
    import torch

    with torch.no_grad():
        logits = model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).logits
    logprobs = logits[:, :-1].float().log_softmax(-1)
    tokens = logprobs.gather(-1, input_ids[:, 1:, None]).squeeze(-1)
    mask = completion_mask[:, 1:].to(tokens.dtype)
    return (tokens * mask).sum(-1), mask.sum(-1)


def check_step0(
    model: Any,
    inputs: dict[str, Any],
    loss: float,
    training: TrainingConfig,
    losses: tuple[str, ...],
    weights: tuple[float, ...],
    reference_is_start: bool,
) -> StepZero:
    """Compare the first batch's loss with one computed from plain logits and the papers' formulas.

    Args:
        model: with both adapters, the policy's active.
        inputs: the batch, ``2B`` rows: chosen and then rejected answers.
        loss: what the trainer made of it.
        training: beta, smoothing and tolerance.
        losses: names of the losses that were summed.
        weights: theirs.
        reference_is_start: whether policy and reference are the same model at this step.

    Raises:
        LineageError: the loss differs, or the rewards are not 0 though policy and reference are
            the same model.
    """
    batch = (inputs["input_ids"], inputs["attention_mask"], inputs["completion_mask"])
    policy, tokens = batch_logprobs(model, *batch)
    with active_adapter(model, REFERENCE):
        reference, _ = batch_logprobs(model, *batch)
    (chosen, rejected), (ref_chosen, ref_rejected) = policy.chunk(2), reference.chunk(2)
    pairs = PairLogprobs(chosen, rejected, ref_chosen, ref_rejected, *tokens.chunk(2))
    expected = mixture(pairs, losses, weights, training.beta, training.label_smoothing).item()
    reward = training.beta * (policy - reference).abs().max().item()
    tolerance = training.step0_tolerance
    if not math.isclose(loss, expected, rel_tol=tolerance, abs_tol=tolerance):
        raise LineageError(
            f"step 0: the trainer's loss is {loss:.6f} but the policy, the reference and the loss "
            f"{'+'.join(losses)} give {expected:.6f}; the trainer uses another reference or "
            "another policy than it was given"
        )
    if reference_is_start and reward > tolerance:
        raise LineageError(
            f"step 0: the policy starts as its reference, so every reward must be 0, but one is "
            f"{reward:.6f}"
        )
    return StepZero(loss, expected, reward)


@contextmanager
def active_adapter(model: Any, name: str) -> Iterator[None]:
    """Use adapter ``name`` within the block, then the policy's again."""
    model.set_adapter(name)
    try:
        yield
    finally:
        model.set_adapter(POLICY)


def check_gradients(model: Any) -> None:
    """Check that gradients reached the policy's adapter and are nowhere else.

    Raises:
        LineageError: naming the first parameter that has a gradient and should not, or none has.
    """
    import torch

    reached = False
    for name, parameter in model.named_parameters():
        if parameter.grad is None or not bool(torch.any(parameter.grad != 0)):
            continue
        if f".{POLICY}." not in name:
            raise LineageError(f"a gradient reached {name}, which is not the policy's adapter")
        reached = True
    if not reached:
        raise LineageError("no gradient reached the policy's adapter: nothing would be trained")


def adapter_sha256(model: Any, name: str) -> str:
    """Return the sha256 of an adapter's tensors, by name and bytes, as the model holds them."""
    from peft import get_peft_model_state_dict

    digest = hashlib.sha256()
    for key, tensor in sorted(get_peft_model_state_dict(model, adapter_name=name).items()):
        digest.update(key.encode("utf-8"))
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
