"""When a training is past saving, and what its user is told."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from iterdpo.errors import UserError

if TYPE_CHECKING:
    from iterdpo.training.spec import Spec

_FIRST = 5
_PATIENCE = 5
_FACTOR = 10.0
_FLOOR = 1.0


def check_finite(values: Mapping[str, float], step: int, spec: Spec) -> None:
    """Refuse a step whose loss, gradient or measurements are not finite.

    Args:
        values: of one step by name, ``loss`` and mostly ``grad_norm`` among them.
        step: the optimizer step that they would lead to, from 1.
        spec: of the training, for the message.

    Raises:
        UserError: with the step, the loss, the gradient's norm, and what to try.
    """
    if wrong := [name for name, value in values.items() if not math.isfinite(value)]:
        others = [f", {name} {values[name]}" for name in wrong if name not in ("loss", "grad_norm")]
        raise _diverged(step, values, spec, "".join(others))


def check_loss(history: Sequence[Mapping[str, float]], spec: Spec) -> None:
    """Stop a training whose loss has left the range that it started in, though it is finite.

    That is so when the last 5 losses are all above 10 times the largest of the first 5, or above 10
    where that is more. Every loss starts near a value of its own (DPO's at ln 2), and trainings
    that work stayed below 1.2 times it; a DPO loss of 10 is a mean reward margin of about -10. A
    single hard batch is no reason, so it takes 5. The accuracy of the rewards is not looked at:
    over the few pairs of a batch it falls to 0 by chance.

    Args:
        history: one entry a step, with its ``loss`` and ``grad_norm``.
        spec: of the training, for the message.

    Raises:
        UserError: as ``check_finite``.
    """
    losses = [entry["loss"] for entry in history]
    if len(losses) < _FIRST + _PATIENCE:
        return
    limit = _FACTOR * max(_FLOOR, *losses[:_FIRST])
    if min(losses[-_PATIENCE:]) > limit:
        why = f", the loss above {limit:.3g} for {_PATIENCE} steps"
        raise _diverged(len(losses), history[-1], spec, why)


def check_weights(model: Any, history: Sequence[Mapping[str, float]], spec: Spec) -> None:
    """Refuse a policy with a trained weight that is not a finite number.

    Raises:
        UserError: as ``check_finite``.
    """
    import torch

    for name, weight in model.named_parameters():
        if weight.requires_grad and not bool(torch.isfinite(weight).all()):
            why = f", and its update left {name} not finite"
            raise _diverged(len(history), history[-1], spec, why)


def check_policy(
    logprobs: Sequence[float], history: Sequence[Mapping[str, float]], spec: Spec
) -> None:
    """Refuse a policy whose weights are finite but whose outputs are not: it could write nothing.

    Args:
        logprobs: of texts, under the trained policy, in nats.
        history: as ``check_loss`` takes it.
        spec: of the training, for the message.

    Raises:
        UserError: as ``check_finite``.
    """
    if not all(map(math.isfinite, logprobs)):
        why = ", and after its update the policy's log-probabilities are not finite"
        raise _diverged(len(history), history[-1], spec, why)


def _diverged(step: int, values: Mapping[str, float], spec: Spec, why: str) -> UserError:
    training, section = spec.training, spec.section
    norm = values.get("grad_norm", math.inf)  # the history has none of a step that overflowed
    if math.isnan(norm) and math.isfinite(values["loss"]):
        why += (
            ", a kernel's fault rather than the recipe's (cuDNN's attention, which had one, is "
            "off): try model.attention=eager"
        )
    return UserError(
        f"training diverged at step {step}: loss {values['loss']:.6g}, gradient norm "
        f"{norm:.6g}{why}; lower {section}.learning_rate (now "
        f"{training.learning_rate:g}), raise {section}.warmup (now {training.warmup:g}) or lower "
        f"{section}.max_grad_norm (now {training.max_grad_norm:g})"
    )
