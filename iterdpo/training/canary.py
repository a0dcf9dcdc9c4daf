"""Choosing the texts that prove an engine applies the adapter it was given.

A canary is a text whose log-probability training moved far. Whoever applies the new adapter must
come out near the trainer's value after training; whoever applies the old one, or none, near the
value before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from iterdpo.training.proofs import batch_logprobs
from iterdpo.training.spec import Canary, CanaryText, Example

if TYPE_CHECKING:
    import torch

_WATCHED_PAIRS = 32
_KEPT_TEXTS = 16


@dataclass(frozen=True)
class WatchedTexts:
    """Texts measured before training, to be measured again after it."""

    texts: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]
    before: tuple[float, ...]
    noise: float

    def measured(self, model: Any) -> Canary:
        """Measure the texts under the trained policy and keep those that moved most."""
        after = text_logprobs(model, self.texts)
        texts = [
            CanaryText(prompt, tokens, old, new)
            for (prompt, tokens), old, new in zip(self.texts, self.before, after, strict=True)
        ]
        texts.sort(key=lambda text: -abs(text.after - text.before))
        return Canary(tuple(texts[:_KEPT_TEXTS]), self.noise)


def choose_canary(model: Any, examples: Sequence[Example]) -> WatchedTexts:
    """Measure the answers of the first pairs under the policy that training starts from.

    The engine measured the same texts while writing them, so the largest difference between the
    two is what engine and trainer disagree by anyway.
    """
    watched = examples[:_WATCHED_PAIRS]
    texts = tuple(
        text
        for example in watched
        for text in (
            (example.prompt_ids, example.chosen_ids),
            (example.prompt_ids, example.rejected_ids),
        )
    )
    engine = [x for item in watched for x in (item.chosen_logprob, item.rejected_logprob)]
    before = text_logprobs(model, texts)
    noise = max(abs(ours - theirs) for ours, theirs in zip(before, engine, strict=True))
    return WatchedTexts(texts, tuple(before), noise)


def text_logprobs(
    model: Any, texts: Sequence[tuple[Sequence[int], Sequence[int]]], rows: int = 16
) -> list[float]:
    """Return log p(tokens | prompt) of each text under the active adapter, in nats.

    The model stays in training mode (there is no dropout): see ``base_model.load_base``.
    """
    import torch

    sums: list[float] = []
    for start in range(0, len(texts), rows):
        part = texts[start : start + rows]
        width = max(len(prompt) + len(tokens) for prompt, tokens in part)
        ids, attention, completion = (
            torch.zeros(len(part), width, dtype=torch.long) for _ in range(3)
        )
        for row, (prompt, tokens) in enumerate(part):
            end = len(prompt) + len(tokens)
            ids[row, :end] = torch.tensor([*prompt, *tokens])
            attention[row, :end] = 1
            completion[row, len(prompt) : end] = 1
        batch: tuple[torch.Tensor, ...] = tuple(
            t.to(model.device) for t in (ids, attention, completion)
        )
        sums.extend(batch_logprobs(model, *batch)[0].tolist())
    return sums
