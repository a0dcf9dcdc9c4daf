"""How much of a training an engine applies, from all tokens of the canary's texts together.

In half types engine and trainer differ by some hundredths of a nat a token, and a few steps at a
small learning rate move a text by less than that adds up to. All tokens together still tell. Let
``x = after - before`` be the trainer's own values and ``y = now - then`` the engine's, ``then``
being under the policy before the training: ``y`` follows ``x`` with the slope 1 where the engine
applies what was trained, and 0 where it applies the policy before. The trainer's values stand on
one side and the engine's on the other, so that no rounding error is on both.

Tokens may be summed in blocks first: where a training moved all tokens of a text alike, sums stand
out of the noise, and where it moved a few of them, or to and fro, single tokens do. Which sums are
used is decided by ``x`` and the known noise alone, never by ``y``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

CLEAR = 3.8
"""Standard errors that a slope may be off by: a normal one is off by more once in 14,000 times, to
one side."""
_BLOCKS = (1, 8, 64)
"""Tokens of a text that are summed, besides all of a text and all of a group of texts."""

Values = Sequence[Sequence[float]]
"""One number a token, text by text."""


@dataclass(frozen=True, slots=True)
class Power:
    """What a sum can tell, known before the engine is asked. Everything in units of the slope."""

    block: int | None
    """Tokens summed; None for all of a text."""
    pooled: bool
    """Whether the texts of a group are summed as well."""
    error_before: float
    """Standard error of the slope where the policy before is applied."""
    error_after: float
    """The same where the trained one is."""
    bias: float
    """What the slope of the right policy may be off 1 by, as nobody knows which part of the noise
    is the trainer's: the share of it in the trainer's movement."""

    @property
    def needed(self) -> float:
        """How far the two policies must lie apart to be told apart. They do by 1."""
        return CLEAR * (self.error_before + self.error_after) + self.bias

    @property
    def tells(self) -> bool:
        """Whether one canary like this decides, whatever the engine answers."""
        return self.needed <= 1

    @property
    def threshold(self) -> float:
        """Slopes from here on belong to the trained policy, those below to the one before."""
        return CLEAR * self.error_before + (1 - self.needed) / 2

    def texts_needed(self, texts: int) -> int | None:
        """Return how many texts like these ``texts`` would decide; None where none would."""
        if not math.isfinite(self.needed) or self.bias >= 1:
            return None
        return math.ceil(texts * ((self.needed - self.bias) / (1 - self.bias)) ** 2)


@dataclass(frozen=True, slots=True)
class _Blocks:
    """Sums of tokens, and the variance of the noise in each."""

    moved: list[float]
    now: list[float]
    noise: list[float]


def power_of(moved: Values, noise: Values, floor: float, groups: int) -> Power:
    """Return the most powerful sum of a canary.

    Args:
        moved: the trainer's log-prob after less before, in nats a token.
        noise: the engine's less the trainer's under the policy before, likewise.
        floor: least standard deviation of that noise, in nats a token, more than 0.
        groups: texts ``i`` and ``i + groups`` are alike, as chosen answers are.
    """
    ways: list[tuple[int | None, bool]] = [*((block, False) for block in _BLOCKS), (None, False)]
    if len(moved) > groups:
        ways.append((None, True))
    found = [_power(block, pooled, moved, noise, floor, groups) for block, pooled in ways]
    return min(found, key=lambda power: power.needed)


def applied_share(
    power: Power, moved: Values, now: Values, noise: Values, floor: float, groups: int
) -> float:
    """Return the slope of the engine's movement on the trainer's: 1 where all of it is applied.

    Args:
        power: of this canary: which sums to take.
        moved: the trainer's log-prob after less before, in nats a token.
        now: the engine's now less its own under the policy before, likewise.
        noise: the engine's less the trainer's under the policy before.
        floor: as for ``power_of``.
        groups: likewise.
    """
    blocks = _summed(power.block, power.pooled, moved, now, noise, floor, groups)
    signal = sum(x * x - v for x, v in zip(blocks.moved, blocks.noise, strict=True))
    return sum(x * y for x, y in zip(blocks.moved, blocks.now, strict=True)) / signal


def _power(
    block: int | None, pooled: bool, moved: Values, noise: Values, floor: float, groups: int
) -> Power:
    blocks = _summed(block, pooled, moved, moved, noise, floor, groups)
    pairs = list(zip(blocks.moved, blocks.noise, strict=True))
    variance = sum(v for _, v in pairs)
    signal = sum(x * x for x, _ in pairs) - variance
    whole = partial(Power, block, pooled)
    if signal <= 0:
        return whole(math.inf, math.inf, math.inf)
    # Var(sum x y), x given. Where y moves with x, x's own noise is in the signal too, whose square
    # is in the divisor: sum (x e) - sum (x_true d) - sum (d^2 - v), with noise e in y and d in x.
    asked = sum(x * x * v for x, v in pairs)
    moving = max(0.0, asked - sum(v * v for _, v in pairs))
    squares = 2 * sum(v * v for _, v in pairs)
    return whole(
        math.sqrt(asked) / signal,
        math.sqrt(asked + moving + squares) / signal,
        variance / signal,
    )


def _summed(
    block: int | None,
    pooled: bool,
    moved: Values,
    now: Values,
    noise: Values,
    floor: float,
    groups: int,
) -> _Blocks:
    """Return sums of ``moved`` and ``now``, with the variance that sums of ``noise`` show."""
    rows = [_sums(block, values) for values in (moved, now, noise)]
    lengths = [length for text in moved for length in _lengths(block, len(text))]
    # By the token, as blocks at the end of a text are shorter. Noise within a text may be
    # correlated, so that of a sum is measured on sums.
    by_token = sum(d * d / n for d, n in zip(rows[2], lengths, strict=True)) / len(lengths)
    by_token = max(by_token, floor * floor)
    variances = [by_token * length for length in lengths]
    if not pooled:
        return _Blocks(rows[0], rows[1], variances)
    alike = [range(start, len(moved), groups) for start in range(groups)]
    return _Blocks(*(
        [sum(row[text] for text in texts) for texts in alike]
        for row in (rows[0], rows[1], variances)
    ))  # fmt: skip


def _sums(block: int | None, values: Values) -> list[float]:
    return [math.fsum(part) for text in values for part in _parts(block, text)]


def _parts(block: int | None, text: Sequence[float]) -> Iterator[Sequence[float]]:
    step = block or max(1, len(text))
    for start in range(0, len(text), step):
        yield text[start : start + step]


def _lengths(block: int | None, tokens: int) -> Iterator[int]:
    yield from (len(part) for part in _parts(block, [0.0] * tokens))
