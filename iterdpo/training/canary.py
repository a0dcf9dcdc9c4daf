"""Choosing the texts that prove an engine applies the policy it was given.

A canary is a text whose log-probability training moved far. Whoever applies the new policy must
come out near the trainer's value after training; whoever applies the old one, or none, near the
value before.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from iterdpo.errors import LineageError
from iterdpo.models.canary import Canary, CanaryText
from iterdpo.models.out_of_memory import in_portions
from iterdpo.models.token_logprobs import answer_logprobs
from iterdpo.training.checks import ROUNDING
from iterdpo.training.spec import AnyExample, PairExample, Spec, TokenizedText

_WATCHED_EXAMPLES = 32
_TOKEN_FLOOR = {"bfloat16": 0.03, "float16": 0.006}
"""Least standard deviation of that noise, in nats a token. Served and trained in bfloat16, models
of 7 and 8 billion weights were seen to differ by 0.03 to 0.09."""
_SINGLE_FLOOR = 1e-5
"""The same in float32, where sums in another order differ."""


@dataclass(frozen=True)
class WatchedTexts:
    """Texts measured before training, to be measured again after it."""

    texts: tuple[TokenizedText, ...]
    before: tuple[tuple[float, ...], ...]
    """The trainer's log p of each token, in nats."""
    engine: tuple[tuple[float, ...], ...]
    """The engine's."""
    noise: float
    """Largest |engine - trainer| log-prob of a text."""
    floor: float
    """Least standard deviation of engine - trainer that is counted on, in nats a token."""
    groups: int
    """Texts of an example."""

    def measured(self, model: Any) -> Canary:
        """Measure the texts under the trained policy."""
        after = text_logprobs(model, self.texts)
        rows = zip(self.texts, self.before, after, self.engine, strict=True)
        texts = tuple(CanaryText(*text, old, new, theirs) for text, old, new, theirs in rows)
        return Canary(texts, self.noise, self.floor, self.groups)


def choose_canary(
    model: Any, texts: Sequence[TokenizedText], engine: Sequence[Sequence[float]], spec: Spec
) -> WatchedTexts:
    """Measure texts under the policy that training starts from.

    The engine measured the same texts under that policy, so the largest difference between the two
    is what engine and trainer disagree by anyway.

    Args:
        model: the policy.
        texts: prompt and answer of each.
        engine: the engine's log-prob of each token of each answer, in nats.
        spec: of the training.

    Raises:
        LineageError: they disagree by more than ``spec.max_engine_gap``: another policy wrote the
            answers, or engine and trainer hold other weights.
    """
    before = text_logprobs(model, texts)
    gaps = [
        abs(math.fsum(ours) - math.fsum(theirs))
        for ours, theirs in zip(before, engine, strict=True)
    ]
    lengths, rounding = [len(tokens) for _, tokens in texts], ROUNDING[spec.base.dtype]
    check_author(gaps, lengths, spec.author, spec.max_engine_gap, rounding)
    # M0's may agree to the last bit where an adapter's will not: half types have a floor.
    longest = max(len(tokens) for _, tokens in texts)
    noise = max(*gaps, ROUNDING[spec.base.dtype] * longest**0.5)
    noted = tuple(tuple(values) for values in engine)
    return watched(spec, texts, noted, tuple(before), noise)


def watched(
    spec: Spec,
    texts: Sequence[TokenizedText],
    engine: Sequence[tuple[float, ...]],
    before: tuple[tuple[float, ...], ...],
    noise: float,
) -> WatchedTexts:
    """Return the texts of ``spec``'s training with what was measured of them before it."""
    floor = _TOKEN_FLOOR.get(spec.base.dtype, _SINGLE_FLOOR)
    groups = 2 if spec.record is PairExample else 1
    return WatchedTexts(tuple(texts), before, tuple(engine), noise, floor, groups)


def watched_texts(examples: Sequence[AnyExample]) -> list[TokenizedText]:
    """Return the texts that a training watches: all answers of its first examples."""
    return [text for example in examples[:_WATCHED_EXAMPLES] for text in example.texts]


def noted_logprobs(examples: Sequence[AnyExample]) -> list[tuple[float, ...]]:
    """Return log p of each token of the watched texts, in nats, as their engine noted it."""
    return [values for item in examples[:_WATCHED_EXAMPLES] for values in item.noted_logprobs]


def check_author(
    gaps: Sequence[float],
    lengths: Sequence[int],
    author: str,
    largest: float | None,
    rounding: float = 0.0,
) -> None:
    """Refuse answers that the policy did not write, as far as their log-probs tell.

    Args:
        gaps: |engine - trainer| log-prob of each answer, in nats.
        lengths: tokens of each answer.
        author: name of the policy that is said to have written them.
        largest: allowed nats a token; None allows any.
        rounding: of the type that is computed in, from ``checks.ROUNDING``: a short answer may be
            off by 6 times that, which is more than ``largest`` a token.

    Raises:
        LineageError: with how many answers are too far off.
    """
    if largest is None:
        return
    off = [
        gap / length
        for gap, length in zip(gaps, lengths, strict=True)
        if gap > largest * length + 6 * rounding * length**0.5
    ]
    if off:
        raise LineageError(
            f"{len(off)} of {len(gaps)} answers that {author} is said to have written have another "
            f"probability under it: engine and trainer differ by up to {max(off):.2g} nats a token "
            f"(engine.max_gap={largest}); another adapter or none wrote them, or engine and "
            "trainer do not hold the same weights"
        )


def text_logprobs(
    model: Any, texts: Sequence[TokenizedText], rows: int = 16
) -> list[tuple[float, ...]]:
    """Return log p of each token of each text's answer under the active adapter, in nats.

    The model stays in training mode, for the reason in ``base_model.load_base``; what dropout it
    has is off. Texts that do not fit into memory side by side are measured in smaller portions.
    """
    with without_dropout(model):
        return in_portions(texts, rows, partial(answer_logprobs, model))


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
