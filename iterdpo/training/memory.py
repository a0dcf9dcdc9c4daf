"""A micro batch that does not fit into memory, computed in parts that do."""

from __future__ import annotations

import gc
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from iterdpo.errors import UserError

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

WHAT_TO_TRY = (
    "try a shorter training.max_length, training.gradient_checkpointing=true, "
    "training.process=spawn, or engine.residency=restart"
)

# Said by the CPU's allocator, by CUDA outside PyTorch's allocator, and by cuBLAS: these errors have
# no type of their own.
_SIGNS = (
    "can't allocate memory",
    "not enough memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
)
# These sort the log-ratios of the whole micro batch: of a part, they are another loss.
_OF_THE_WHOLE = frozenset({"aot", "aot_unpaired"})


@dataclass(frozen=True)
class Part:
    """Some pairs of a micro batch, and the losses' weights with which the parts add up to it."""

    inputs: dict[str, torch.Tensor]
    losses: list[str]
    weights: list[float]


def is_out_of_memory(error: RuntimeError) -> bool:
    """Say whether an error means that memory ran out, on the GPU or on the CPU."""
    import torch

    return isinstance(error, torch.OutOfMemoryError) or any(sign in str(error) for sign in _SIGNS)


def free_memory() -> None:
    """Give back what nothing refers to any more."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def pairs_in(inputs: Mapping[str, torch.Tensor]) -> int:
    """Return how many pairs a micro batch holds."""
    return len(inputs["completion_mask"]) // 2


def halved(
    inputs: Mapping[str, torch.Tensor], sizes: Sequence[int], losses: Sequence[str], step: int
) -> int:
    """Return the size in pairs to try next, about half of the one that did not fit.

    Args:
        inputs: the micro batch.
        sizes: the sizes that were used so far, the present one last.
        losses: names of the losses that are summed.
        step: the optimizer step at hand, for messages.

    Raises:
        UserError: the micro batch cannot be made smaller, with what to try instead.
    """
    size = min(sizes[-1], pairs_in(inputs))
    if size == 1:
        raise UserError(
            f"out of memory at training step {step} on a single pair, padded to "
            f"{inputs['completion_mask'].shape[1]} tokens: {WHAT_TO_TRY}"
        )
    if _OF_THE_WHOLE & set(losses):
        raise UserError(
            f"out of memory at training step {step} with {size} pairs side by side: the loss "
            f"{'+'.join(losses)} compares them all, so they are not taken apart; lower "
            f"training.micro_batch_size (now {sizes[0]}), or {WHAT_TO_TRY}"
        )
    log.warning(
        "out of memory at training step %d with %d pairs side by side: at most %d from here on",
        step, size, (size + 1) // 2,
    )  # fmt: skip
    return (size + 1) // 2


def split(
    inputs: Mapping[str, torch.Tensor], pairs: int, losses: Sequence[str], weights: Sequence[float]
) -> Iterator[Part]:
    """Yield a micro batch in parts whose losses add up to the loss of the whole, up to rounding.

    The loss of the whole is a mean over its pairs, that of ``sft`` a mean over the tokens of its
    chosen answers. So each part's loss is weighted by the part's share of the pairs or tokens.

    Args:
        inputs: tensors of ``2B`` rows, ``B`` of chosen and then ``B`` of rejected answers.
        pairs: largest size of a part, 1 or more. Parts are as even as they can be.
        losses: names of the losses that are summed; none that compares all pairs.
        weights: theirs.
    """
    import torch

    rows = pairs_in(inputs)
    number = math.ceil(rows / pairs)
    halves = {
        name: [half.tensor_split(number) for half in tensor.chunk(2)]
        for name, tensor in inputs.items()
    }
    chosen_masks, _ = halves["completion_mask"]
    tokens = [int(mask[:, 1:].sum()) for mask in chosen_masks]  # the first is never predicted
    for index in range(number):
        shares = {
            # Of a part without a token the mean over tokens is no number, so it is left out.
            name: tokens[index] / (sum(tokens) or math.nan)
            if name == "sft"
            else len(chosen_masks[index]) / rows
            for name in losses
        }
        kept = [at for at, name in enumerate(losses) if shares[name] != 0]
        if kept:
            yield Part(
                {
                    name: torch.cat([chosen[index], rejected[index]])
                    for name, (chosen, rejected) in halves.items()
                },
                [losses[at] for at in kept],
                [weights[at] * shares[losses[at]] for at in kept],
            )
