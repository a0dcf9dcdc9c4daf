"""What must be true of a training, checked while it runs. Each failure stops it.

- step 0: the first batch's loss and log-probs are those of independent arithmetic
- gradients reach the policy's trained weights and nothing else
- the reference does not change
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from iterdpo.errors import LineageError
from iterdpo.models.token_logprobs import token_logprobs
from iterdpo.training.losses import PairLogprobs, mixture, orpo

if TYPE_CHECKING:
    import torch

    from iterdpo.config.training import TrainingConfig

POLICY = "default"
REFERENCE = "ref"
IGNORED_LABEL = -100
"""Of a token that is not learned: what PyTorch's losses leave out."""
ROUNDING = {"float32": 0.0, "bfloat16": 0.05, "float16": 0.01}
"""What two computations of a text's log-prob in a type may differ by, in nats, by the square root
of its tokens: rounding errors add up like a random walk. Set above what was seen on the lab, 0.06
nats in bfloat16 and 0.02 in float16 for answers of eight tokens."""


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
        tokens = token_logprobs(model, input_ids, attention_mask, completion_mask)
    return tokens.sum(-1), completion_mask[:, 1:].to(tokens.dtype).sum(-1)


def check_step0(
    model: Any,
    inputs: dict[str, Any],
    loss: float,
    training: TrainingConfig,
    losses: tuple[str, ...],
    weights: tuple[float, ...],
    reference_is_start: bool,
    as_reference: Callable[[], AbstractContextManager[Any]],
    rounding: float = 0.0,
) -> StepZero:
    """Compare the first batch's loss with one computed from plain logits and the papers' formulas.

    Args:
        model: the policy.
        inputs: the batch, ``2B`` rows: chosen and then rejected answers.
        loss: what the trainer made of it.
        training: beta, smoothing and tolerance.
        losses: names of the losses that were summed.
        weights: theirs.
        reference_is_start: whether policy and reference are the same model at this step.
        as_reference: within the block that it opens, what it yields computes the reference.
        rounding: of the type that the model computes in, from ``ROUNDING``. Where policy and
            reference are the same it falls on both alike, and nothing is allowed for it.

    Raises:
        LineageError: the loss differs, or the rewards are not 0 though policy and reference are
            the same model.
    """
    batch = (inputs["input_ids"], inputs["attention_mask"], inputs["completion_mask"])
    policy, tokens = batch_logprobs(model, *batch)
    with as_reference() as reference_model:
        reference, _ = batch_logprobs(reference_model, *batch)
    (chosen, rejected), (ref_chosen, ref_rejected) = policy.chunk(2), reference.chunk(2)
    pairs = PairLogprobs(chosen, rejected, ref_chosen, ref_rejected, *tokens.chunk(2))
    expected = mixture(pairs, losses, weights, training.beta, training.label_smoothing).item()
    reward = training.beta * (policy - reference).abs().max().item()
    tolerance = allowed = training.step0_tolerance
    if rounding and not reference_is_start:
        for step in (rounding, -rounding):
            moved = replace(
                pairs,
                policy_chosen=chosen + step * pairs.chosen_tokens.sqrt(),
                policy_rejected=rejected - step * pairs.rejected_tokens.sqrt(),
            )
            other = mixture(moved, losses, weights, training.beta, training.label_smoothing)
            allowed = max(allowed, abs(other.item() - expected))
    if not math.isclose(loss, expected, rel_tol=tolerance, abs_tol=allowed):
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


def check_likelihood(
    model: Any,
    inputs: dict[str, Any],
    loss: float,
    tokens: int,
    tolerance: float,
    rounding: float = 0.0,
) -> StepZero:
    """Compare the first batch's negative log-likelihood with one computed from plain logits.

    Args:
        model: the policy.
        inputs: the batch: ``input_ids``, ``attention_mask``, and ``labels``, ``IGNORED_LABEL``
            where nothing is learned.
        loss: what the trainer made of it.
        tokens: learned in the whole step, which the loss is a mean over.
        tolerance: largest difference in nats.
        rounding: of the type that the model computes in, from ``ROUNDING``.

    Raises:
        LineageError: the loss differs.
    """
    learned = (inputs["labels"] != IGNORED_LABEL).long()
    sums, count = batch_logprobs(model, inputs["input_ids"], inputs["attention_mask"], learned)
    expected = -sums.sum().item() / tokens
    allowed = max(tolerance, rounding * count.sum().sqrt().item() / tokens)
    if not math.isclose(loss, expected, rel_tol=tolerance, abs_tol=allowed):
        raise LineageError(
            f"step 0: the trainer's loss is {loss:.6f} but the policy gives the answers' tokens "
            f"{expected:.6f}; other tokens are learned, or by another model"
        )
    return StepZero(loss, expected, 0.0)


def check_odds(
    model: Any,
    inputs: dict[str, Any],
    loss: float,
    log_ratio: float,
    beta: float,
    shares: tuple[float, float],
    tolerance: float,
) -> StepZero:
    """Compare the first batch's ORPO loss with one computed from plain logits and its formula.

    The odds are compared by themselves as well: in the loss they are small beside the likelihood.

    Args:
        model: the policy.
        inputs: the batch, ``2B`` rows: chosen and then rejected answers.
        loss: what the trainer made of it.
        log_ratio: the trainer's mean of log sigma(log odds ratio), the paper's -L_OR.
        beta: weight of the odds ratio, the paper's lambda.
        shares: of the tokens and of the pairs of the whole step that this batch holds: its loss is
            its share of the step's.
        tolerance: largest difference in nats.

    Raises:
        LineageError: the loss or its odds differ.
    """
    import torch

    ids, attention, answers = (
        inputs[name] for name in ("input_ids", "attention_mask", "completion_mask")
    )
    # The whole batch, as the trainer has it: in half types, another shape rounds otherwise.
    with torch.no_grad():
        logprobs = token_logprobs(model, ids, attention, attention)
    answers, attention = answers[:, 1:], attention[:, 1:]
    chosen, rejected = (logprobs * answers).sum(-1).chunk(2)
    chosen_tokens, rejected_tokens = answers.sum(-1).chunk(2)
    said, count = logprobs.chunk(2)[0], attention.chunk(2)[0]
    of_tokens, of_pairs = shares
    likelihood = -of_tokens * said.sum() / count.sum()
    mean = (chosen / chosen_tokens, rejected / rejected_tokens)
    expected = orpo(likelihood, *mean, of_pairs * beta).mean().item()
    odds = -orpo(likelihood.new_zeros(()), *mean, 1.0).mean().item()
    for name, ours, theirs in (("loss", expected, loss), ("log odds ratio", odds, log_ratio)):
        if not math.isclose(theirs, ours, rel_tol=tolerance, abs_tol=tolerance):
            raise LineageError(
                f"step 0: the trainer's {name} is {theirs:.6f} but the policy and ORPO's formula "
                f"give {ours:.6f}; other tokens are learned, or by another model"
            )
    return StepZero(loss, expected, 0.0)


@contextmanager
def active_adapter(model: Any, name: str) -> Iterator[Any]:
    """Use adapter ``name`` of ``model`` within the block, then the policy's again."""
    model.set_adapter(name)
    try:
        yield model
    finally:
        model.set_adapter(POLICY)


def check_adapter_gradients(model: Any) -> None:
    """Check that gradients reached the policy's adapter and are nowhere else.

    Raises:
        LineageError: naming the first parameter that has a gradient and should not, or none has.
    """
    reached = False
    for name, parameter in model.named_parameters():
        if not _has_gradient(parameter):
            continue
        if f".{POLICY}." not in name:
            raise LineageError(f"a gradient reached {name}, which is not the policy's adapter")
        reached = True
    if not reached:
        raise LineageError("no gradient reached the policy's adapter: nothing would be trained")


def check_all_gradients(model: Any, reference: Any | None) -> None:
    """Check that a gradient reached every weight of the policy and none of the reference.

    Raises:
        LineageError: naming the first parameter of which that is not so.
    """
    for name, parameter in model.named_parameters():
        if parameter.grad is None:
            raise LineageError(f"no gradient reached {name}: not every weight would be trained")
    if not any(_has_gradient(parameter) for parameter in model.parameters()):
        raise LineageError("every gradient is zero: nothing would be trained")
    if reference is not None:
        for name, parameter in reference.named_parameters():
            if parameter.requires_grad or parameter.grad is not None:
                raise LineageError(f"{name} of the reference would be trained")


def adapter_sha256(model: Any, name: str) -> str:
    """Return the sha256 of an adapter's tensors, by name and bytes, as the model holds them."""
    from peft import get_peft_model_state_dict

    return tensors_sha256(get_peft_model_state_dict(model, adapter_name=name))


def tensors_sha256(tensors: Mapping[str, torch.Tensor]) -> str:
    """Return one sha256 over tensors, by name and bytes, as float32."""
    digest = hashlib.sha256()
    for key, tensor in sorted(tensors.items()):
        digest.update(key.encode("utf-8"))
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _has_gradient(parameter: torch.Tensor) -> bool:
    return parameter.grad is not None and bool((parameter.grad != 0).any())
