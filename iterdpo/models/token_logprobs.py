"""Log-probs of the tokens that matter, without the logits of a whole batch.

Logits take ``B * T * V`` numbers: at a vocabulary of 128,256 more than everything else in a forward
pass. So the decoder runs once, and what comes after it runs slice by slice, on the positions that
are asked for. That is the family's own ``forward`` (its head, and where it has them a scale or a
soft cap of logits) with a slice in place of what its decoder returns: there is no list of families.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from iterdpo.models.padding import right_padded

if TYPE_CHECKING:
    import torch

SLICE_BYTES = 2**27
"""Of a slice's logits in float32; 261 positions at a vocabulary of 128,256."""


def answer_logprobs(
    model: Any, texts: Sequence[tuple[Sequence[int], Sequence[int]]]
) -> list[tuple[float, ...]]:
    """Return log p of each token of each text's answer, in nats, of all texts side by side.

    Args:
        model: as for ``token_logprobs``.
        texts: token ids of prompt and answer; no prompt is empty.
    """
    import torch

    ids, attention = right_padded([[*prompt, *answer] for prompt, answer in texts], 0, model.device)
    answers, _ = right_padded(
        [[0] * len(prompt) + [1] * len(answer) for prompt, answer in texts], 0, model.device
    )
    with torch.no_grad():
        values = token_logprobs(model, ids, attention, answers).tolist()
    return [
        tuple(row[len(prompt) - 1 : len(prompt) - 1 + len(answer)])
        for (prompt, answer), row in zip(texts, values, strict=True)
    ]


def token_logprobs(
    model: Any,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    wanted: torch.Tensor,
    slice_bytes: int = SLICE_BYTES,
) -> torch.Tensor:
    """Return ``(B, T - 1)`` log-probs of the tokens behind the first, in nats; 0 of the others.

    Where autograd records, a slice's logits are computed again in the backward pass.

    Peak bytes beside the decoder's: slice_bytes / 4 * (bytes of the model's type + 4 + 4), for the
    slice's logits, these in float32 and their log-softmax; twice that in a backward pass. A model
    whose head cannot be told from its decoder adds its logits, B * T * V * bytes of its type.

    Args:
        model: a causal language model of transformers, PEFT's or not, called as it stands, with the
            adapter that is active.
        input_ids: ``(B, T)``.
        attention_mask: ``(B, T)``, 0 on padding.
        wanted: ``(B, T)``, not 0 on the tokens whose log-prob is asked for.
        slice_bytes: most bytes of the logits of a slice in float32, or those of one position.
    """
    import torch
    from torch.utils.checkpoint import checkpoint

    states, head, vocabulary = _before_head(model, input_ids, attention_mask)
    chosen = wanted[:, 1:] != 0
    states, targets = states[:, :-1][chosen], input_ids[:, 1:][chosen]

    def of_slice(part: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        logprobs = head(part).float().log_softmax(-1)
        return logprobs.gather(-1, tokens[:, None]).squeeze(-1)

    number = max(1, math.ceil(len(states) / max(1, slice_bytes // (4 * vocabulary))))
    slices = zip(states.chunk(number), targets.chunk(number), strict=True)
    if torch.is_grad_enabled():
        values = [checkpoint(of_slice, *each, use_reentrant=False) for each in slices]
    else:
        values = [of_slice(*each) for each in slices]
    nothing = torch.zeros(chosen.shape, device=states.device)
    return nothing.masked_scatter(chosen, torch.cat(values))


def _before_head(
    model: Any, input_ids: torch.Tensor, attention_mask: torch.Tensor
) -> tuple[torch.Tensor, Callable[[torch.Tensor], torch.Tensor], int]:
    """Return ``(B, T, H)`` hidden states, what makes ``(N, V)`` logits of ``(N, H)``, and ``V``.

    Where the decoder is not a module of its own, or does not return its states by name, the states
    are the logits already.
    """
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    decoder = causal.base_model
    forward, kept = decoder.forward, []

    def first_position(*args: Any, **kwargs: Any) -> Any:
        output = forward(*args, **kwargs)
        if getattr(output, "last_hidden_state", None) is None:
            return output
        kept.append(output)
        return _with_states(output, output.last_hidden_state[:1, :1])

    def head(part: torch.Tensor) -> torch.Tensor:
        (output,) = kept
        given = _with_states(output, part[None])
        with _forward_of(decoder, lambda *_, **__: given):
            logits: torch.Tensor = model(
                input_ids=input_ids.new_zeros(1, len(part)), use_cache=False
            ).logits
        return logits[0]

    # Always through the whole model: its trainer may have put an autocast around it.
    with _forward_of(decoder, first_position):
        logits = model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).logits
    if kept:
        return kept[0].last_hidden_state, head, logits.shape[-1]
    return logits, lambda part: part, logits.shape[-1]


def _with_states(output: Any, states: torch.Tensor) -> Any:
    return type(output)(**{**output, "last_hidden_state": states})


@contextmanager
def _forward_of(module: Any, forward: Callable[..., Any]) -> Iterator[None]:
    """Let ``module`` compute ``forward`` within the block."""
    own = vars(module).get("forward")
    module.forward = forward
    try:
        yield
    finally:
        if own is None:
            del module.forward
        else:
            module.forward = own
