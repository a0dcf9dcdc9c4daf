"""One batch of samples from a transformers model, each token with its log-probability."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from iterdpo.engines.base import Sampling
from iterdpo.errors import UserError
from iterdpo.models.padding import left_padded
from iterdpo.records import FinishReason

if TYPE_CHECKING:
    import torch
    from transformers import GenerationConfig


@dataclass(frozen=True, slots=True)
class SpecialIds:
    """The tokens that end an answer, and the one that fills a row."""

    eos: tuple[int, ...]
    pad: int


@dataclass(frozen=True, slots=True)
class Sampled:
    """One continuation: its tokens, their log-probs at temperature 1, and why it ended."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish_reason: FinishReason


def generation_config(sampling: Sampling, special: SpecialIds) -> GenerationConfig:
    """Return ``sampling`` as transformers wants it told."""
    from transformers import GenerationConfig

    greedy = sampling.temperature == 0
    return GenerationConfig(
        do_sample=not greedy,
        max_new_tokens=sampling.max_tokens,
        eos_token_id=list(special.eos),
        pad_token_id=special.pad,
        temperature=None if greedy else sampling.temperature,
        top_p=None if greedy else sampling.top_p,
        top_k=None if greedy else sampling.top_k,
    )


def sample(
    model: Any,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    seed: int,
    special: SpecialIds,
) -> list[Sampled]:
    """Sample one continuation of each prompt in one batch, all from one seed.

    The global random state is left as it was.
    """
    import torch
    from transformers import LogitsProcessorList

    if not prompts:
        return []
    device = model.device
    ids, mask = left_padded(prompts, special.pad, device)
    recorder = _LogprobRecorder()
    devices = [device] if device.type == "cuda" else []
    with torch.no_grad(), torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        output = model.generate(
            input_ids=ids,
            attention_mask=mask,
            generation_config=generation_config(sampling, special),
            logits_processor=LogitsProcessorList([recorder]),
        )
    tokens, logprobs = output[:, ids.shape[1] :], recorder.finish(output)
    return [
        until_stop(row, values, special.eos)
        for row, values in zip(tokens.tolist(), logprobs.tolist(), strict=True)
    ]


class _LogprobRecorder:
    """Records each sampled token's log-probability as ``generate`` goes, one step behind.

    It stands before the warpers (temperature, top-p, top-k), so what it sees is the model itself,
    and it keeps one step's logits only: a full record would be steps x batch x vocabulary.
    """

    def __init__(self) -> None:
        self._last: torch.Tensor | None = None
        self._taken: list[torch.Tensor] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        self._take(input_ids[:, -1])
        self._last = scores.float().log_softmax(-1)
        if bool(self._last.isnan().any()):  # to draw from them is a crash, on a GPU of the process
            raise UserError(
                "the model's probabilities of a next token are no numbers: its weights are damaged "
                "or overflow; try model.dtype=float32, or another checkpoint"
            )
        return scores

    def finish(self, output: torch.Tensor) -> torch.Tensor:
        """Return ``(B, steps)`` log-probabilities, given the whole ``(B, T)`` output."""
        import torch

        self._take(output[:, -1])
        return torch.stack(self._taken, dim=1)

    def _take(self, tokens: torch.Tensor) -> None:
        if self._last is not None:
            self._taken.append(self._last.gather(-1, tokens[:, None]).squeeze(-1))


def until_stop(tokens: Sequence[int], logprobs: Sequence[float], eos_ids: Sequence[int]) -> Sampled:
    """Cut a row after its first end-of-sequence token."""
    for position, token in enumerate(tokens):
        if token in eos_ids:
            end = position + 1
            return Sampled(tuple(tokens[:end]), tuple(logprobs[:end]), FinishReason.STOP)
    return Sampled(tuple(tokens), tuple(logprobs), FinishReason.LENGTH)
