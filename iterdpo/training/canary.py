"""Choosing the texts that prove an engine applies the adapter it was given.

A canary is a text whose log-probability training moved far. Whoever applies the new adapter must
come out near the trainer's value after training; whoever applies the old one, or none, near the
value before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from iterdpo.errors import LineageError
from iterdpo.training.memory import free_memory, is_out_of_memory
from iterdpo.training.proofs import batch_logprobs
from iterdpo.training.spec import Canary, CanaryText, Example, TrainSpec

if TYPE_CHECKING:
    import torch

_WATCHED_PAIRS = 32
_KEPT_TEXTS = 16
_NOISE_FLOOR = {"bfloat16": 0.05, "float16": 0.01}
"""Noise of a text in nats, by the square root of its tokens: rounding errors add up like a random
walk. Set above what was seen on the lab, 0.06 nats in bfloat16 and 0.02 in float16 for answers of
eight tokens."""


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


def choose_canary(model: Any, examples: Sequence[Example], spec: TrainSpec) -> WatchedTexts:
    """Measure the answers of the first pairs under the policy that training starts from.

    The engine measured the same texts while writing them, so the largest difference between the
    two is what engine and trainer disagree by anyway.

    Raises:
        LineageError: they disagree by more than ``spec.max_engine_gap``: another policy wrote.
    """
    watched = examples[:_WATCHED_PAIRS]
    texts = watched_texts(watched)
    engine = [x for item in watched for x in (item.chosen_logprob, item.rejected_logprob)]
    before = text_logprobs(model, texts)
    gaps = [abs(ours - theirs) for ours, theirs in zip(before, engine, strict=True)]
    check_author(gaps, [len(tokens) for _, tokens in texts], spec.author, spec.max_engine_gap)
    # M0's may agree to the last bit where an adapter's will not: half types have a floor.
    longest = max(len(tokens) for _, tokens in texts)
    noise = max(*gaps, _NOISE_FLOOR.get(spec.base.dtype, 0.0) * longest**0.5)
    return WatchedTexts(texts, tuple(before), noise)


def watched_texts(
    examples: Sequence[Example],
) -> tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]:
    """Return prompt and answer of the texts that are watched: both answers of the first pairs."""
    return tuple(
        text
        for example in examples[:_WATCHED_PAIRS]
        for text in (
            (example.prompt_ids, example.chosen_ids),
            (example.prompt_ids, example.rejected_ids),
        )
    )


def check_author(
    gaps: Sequence[float], lengths: Sequence[int], author: str, largest: float | None
) -> None:
    """Refuse answers that the policy did not write, as far as their log-probs tell.

    Args:
        gaps: |engine - trainer| log-prob of each answer, in nats.
        lengths: tokens of each answer.
        author: name of the policy that is said to have written them.
        largest: allowed nats a token; None allows any.

    Raises:
        LineageError: with how many answers are too far off.
    """
    if largest is None:
        return
    off = [
        gap / length for gap, length in zip(gaps, lengths, strict=True) if gap > largest * length
    ]
    if off:
        raise LineageError(
            f"{len(off)} of {len(gaps)} answers that {author} is said to have written have another "
            f"probability under it: engine and trainer differ by up to {max(off):.2g} nats a token "
            f"(engine.max_gap={largest}); another adapter or none wrote them, or engine and "
            "trainer do not hold the same weights"
        )


def text_logprobs(
    model: Any, texts: Sequence[tuple[Sequence[int], Sequence[int]]], rows: int = 16
) -> list[float]:
    """Return log p(tokens | prompt) of each text under the active adapter, in nats.

    The model stays in training mode (there is no dropout): see ``base_model.load_base``. Texts that
    do not fit into memory side by side are measured in smaller portions.
    """
    while True:
        try:
            return _text_logprobs(model, texts, rows)
        except RuntimeError as error:
            if rows == 1 or not is_out_of_memory(error):
                raise
        # Not in the handler, where the error still holds on to the tensors of its frames.
        free_memory()
        rows //= 2


def _text_logprobs(
    model: Any, texts: Sequence[tuple[Sequence[int], Sequence[int]]], rows: int
) -> list[float]:
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
