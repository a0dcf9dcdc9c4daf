"""A micro batch that does not fit into memory, computed in parts that do."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from iterdpo.errors import UserError

if TYPE_CHECKING:
    import torch

    from iterdpo.training.spec import Spec

log = logging.getLogger(__name__)

# These are means over the tokens of chosen answers or texts; the others are means over pairs.
_OVER_TOKENS = frozenset({"sft", "nll"})
# These sort the log-ratios of the whole micro batch: of a part, they are another loss.
_OF_THE_WHOLE = frozenset({"aot", "aot_unpaired"})


@dataclass(frozen=True)
class BatchPart:
    """Some rows of a micro batch, and the losses' weights with which the parts add up to a step."""

    inputs: dict[str, torch.Tensor]
    losses: list[str] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Totals:
    """What the losses of one optimizer step are means over."""

    pairs: int
    chosen_tokens: int

    @classmethod
    def of(
        cls, micro_batches: Iterable[Mapping[str, torch.Tensor]], counted: str = "completion_mask"
    ) -> Totals:
        """Count what the micro batches of a step hold together; ``counted`` as for ``split``."""
        batches = list(micro_batches)
        tokens = sum(chosen_tokens_in(batch, counted) for batch in batches)
        return cls(sum(map(pairs_in, batches)), tokens)


def what_to_try(section: str) -> str:
    """Return what a user can do about memory, by the settings of ``section``."""
    return (
        f"try a shorter {section}.max_length, {section}.gradient_checkpointing=true, "
        f"{section}.process=spawn, or engine.residency=restart"
    )


def pairs_in(inputs: Mapping[str, torch.Tensor]) -> int:
    """Return how many pairs a micro batch holds."""
    return len(inputs["completion_mask"]) // 2


def chosen_tokens_in(inputs: Mapping[str, torch.Tensor], counted: str = "completion_mask") -> int:
    """Return how many tokens of the chosen rows a micro batch predicts, where ``counted`` is 1."""
    chosen, _ = inputs[counted].chunk(2)
    return int(chosen[:, 1:].sum())  # the first token of a row is never predicted


def halved(
    rows: int, width: int, sizes: Sequence[int], losses: Sequence[str], step: int, spec: Spec
) -> int:
    """Return the size to try next, about half of the one that did not fit.

    Args:
        rows: pairs or examples of the micro batch.
        width: tokens that it is padded to.
        sizes: the sizes that were used so far, the present one last.
        losses: names of the losses that are summed.
        step: the optimizer step at hand, for messages.
        spec: of the training, likewise.

    Raises:
        UserError: the micro batch cannot be made smaller, with what to try instead.
    """
    size, section = min(sizes[-1], rows), spec.section
    if size == 1:
        raise UserError(
            f"out of memory at training step {step} on a single {spec.unit}, padded to "
            f"{width} tokens: {what_to_try(section)}"
        )
    if _OF_THE_WHOLE & set(losses):
        raise UserError(
            f"out of memory at training step {step} with {size} pairs side by side: the loss "
            f"{'+'.join(losses)} compares them all, so they are not taken apart; lower "
            f"{section}.micro_batch_size (now {sizes[0]}), or {what_to_try(section)}"
        )
    log.warning(
        "out of memory at training step %d with %d %ss side by side: at most %d from here on",
        step, size, spec.unit, (size + 1) // 2,
    )  # fmt: skip
    return (size + 1) // 2


def split(
    inputs: Mapping[str, torch.Tensor],
    pairs: int,
    losses: Sequence[str],
    weights: Sequence[float],
    step: Totals | None = None,
    counted: str = "completion_mask",
) -> Iterator[BatchPart]:
    """Yield a micro batch in parts whose losses add up to its share of a step, up to rounding.

    The loss of a step is a mean over its pairs, that of ``sft`` a mean over the tokens of its
    chosen answers, and ``nll`` likewise. So each part's loss is weighted by the part's share of the
    pairs or tokens.

    Args:
        inputs: tensors of ``2B`` rows, ``B`` of chosen and then ``B`` of rejected answers.
        pairs: largest size of a part, 1 or more. Parts are as even as they can be.
        losses: names of the losses that are summed; with several parts, none that compares all
            pairs.
        weights: theirs.
        step: of all micro batches of the optimizer step; None where ``inputs`` are all of it.
        counted: name of the mask of the tokens that ``sft`` or ``nll`` is a mean over.
    """
    import torch

    rows = pairs_in(inputs)
    step = step or Totals.of([inputs], counted)
    number = math.ceil(rows / pairs)
    halves = {
        name: [half.tensor_split(number) for half in tensor.chunk(2)]
        for name, tensor in inputs.items()
    }
    chosen_masks, _ = halves[counted]
    for index in range(number):
        tokens = int(chosen_masks[index][:, 1:].sum())
        shares = {
            # Of a part without a token the mean over tokens is no number, so it is left out.
            name: tokens / (step.chosen_tokens or math.nan)
            if name in _OVER_TOKENS
            else len(chosen_masks[index]) / step.pairs
            for name in losses
        }
        kept = [at for at, name in enumerate(losses) if shares[name] != 0]
        if kept:
            yield BatchPart(
                {
                    name: torch.cat([chosen[index], rejected[index]])
                    for name, (chosen, rejected) in halves.items()
                },
                [losses[at] for at in kept],
                [weights[at] * shares[losses[at]] for at in kept],
            )


def split_rows(inputs: Mapping[str, torch.Tensor], rows: int) -> Iterator[BatchPart]:
    """Yield a micro batch of single rows in parts of at most ``rows``, as even as they can be.

    For a loss that is divided by the tokens of the whole step: then the parts add up by themselves.
    """
    number = math.ceil(len(inputs["input_ids"]) / rows)
    parts = {name: tensor.tensor_split(number) for name, tensor in inputs.items()}
    for index in range(number):
        yield BatchPart({name: part[index] for name, part in parts.items()})
