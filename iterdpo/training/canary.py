"""Choosing the texts that prove an engine applies the policy it was given.

A canary is a text whose log-probability training moved far. Whoever applies the new policy must
come out near the trainer's value after training; whoever applies the old one, or none, near the
value before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from iterdpo.errors import LineageError
from iterdpo.models.canary import Canary, CanaryText
from iterdpo.models.loading import free_memory
from iterdpo.training.checks import batch_logprobs
from iterdpo.training.memory import is_out_of_memory
from iterdpo.training.spec import AnyExample, Spec, TokenizedText

if TYPE_CHECKING:
    import torch

_WATCHED_EXAMPLES = 32
_KEPT_TEXTS = 16
_NOISE_FLOOR = {"bfloat16": 0.05, "float16": 0.01}
"""Noise of a text in nats, by the square root of its tokens: rounding errors add up like a random
walk. Set above what was seen on the lab, 0.06 nats in bfloat16 and 0.02 in float16 for answers of
eight tokens."""


@dataclass(frozen=True)
class WatchedTexts:
    """Texts measured before training, to be measured again after it."""

    texts: tuple[TokenizedText, ...]
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


def choose_canary(
    model: Any, texts: Sequence[TokenizedText], engine: Sequence[float], spec: Spec
) -> WatchedTexts:
    """Measure texts under the policy that training starts from.

    The engine measured the same texts under that policy, so the largest difference between the two
    is what engine and trainer disagree by anyway.

    Args:
        model: the policy.
        texts: prompt and answer of each.
        engine: the engine's log-prob of each answer, in nats.
        spec: of the training.

    Raises:
        LineageError: they disagree by more than ``spec.max_engine_gap``: another policy wrote the
            answers, or engine and trainer hold other weights.
    """
    before = text_logprobs(model, texts)
    gaps = [abs(ours - theirs) for ours, theirs in zip(before, engine, strict=True)]
    check_author(gaps, [len(tokens) for _, tokens in texts], spec.author, spec.max_engine_gap)
    # M0's may agree to the last bit where an adapter's will not: half types have a floor.
    longest = max(len(tokens) for _, tokens in texts)
    noise = max(*gaps, _NOISE_FLOOR.get(spec.base.dtype, 0.0) * longest**0.5)
    return WatchedTexts(tuple(texts), tuple(before), noise)


def watched_texts(examples: Sequence[AnyExample]) -> list[TokenizedText]:
    """Return the texts that a training watches: all answers of its first examples."""
    return [text for example in examples[:_WATCHED_EXAMPLES] for text in example.texts]


def noted_logprobs(examples: Sequence[AnyExample]) -> list[float]:
    """Return log p of the watched texts, in nats, as the engine noted it while it wrote them."""
    return [value for item in examples[:_WATCHED_EXAMPLES] for value in item.noted_logprobs]


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


def text_logprobs(model: Any, texts: Sequence[TokenizedText], rows: int = 16) -> list[float]:
    """Return log p(tokens | prompt) of each text under the active adapter, in nats.

    The model stays in training mode, for the reason in ``base_model.load_base``; what dropout it
    has is off. Texts that do not fit into memory side by side are measured in smaller portions.
    """
    while True:
        try:
            with without_dropout(model):
                return _text_logprobs(model, texts, rows)
        except RuntimeError as error:
            if rows == 1 or not is_out_of_memory(error):
                raise
        # Not in the handler, where the error still holds on to the tensors of its frames.
        free_memory()
        rows //= 2


@contextmanager
def without_dropout(model: Any) -> Iterator[None]:
    """Drop nothing within the block, though the model is in training mode."""
    import torch

    layers = [layer for layer in model.modules() if isinstance(layer, torch.nn.Dropout)]
    shares = [layer.p for layer in layers]
    for layer in layers:
        layer.p = 0.0
    try:
        yield
    finally:
        for layer, share in zip(layers, shares, strict=True):
            layer.p = share


def _text_logprobs(model: Any, texts: Sequence[TokenizedText], rows: int) -> list[float]:
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
