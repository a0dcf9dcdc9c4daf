"""Whether a server applies an adapter, from texts that it wrote and the log-probs that it stated.

For every token there are three values: the server's own ``m``, and ``a`` and ``b``, those of the
base with and without the adapter, computed here. With ``x = a - b``,

    share = sum(x (m - b)) / sum(x^2)

is 1 for a server with the adapter and 0 for one without. Rounding errors of ``b`` stand on both
sides, and those of ``x`` in the divisor: with variances ``A`` and ``B`` a token and ``S`` for what
``x`` would be without them, the two shares come to ``(S + B) / (S + A + B)`` and
``B / (S + A + B)``. As ``a`` and ``b`` are computed alike, A is B, whatever else their errors
share, so that both are pulled to 1/2 by the same. The middle stays the middle: it decides, by its
distance in standard errors, and nothing has to be known of the noise.

Texts are samples of the server's own policy ``q``, from which two things follow. Under ``q``, what
``x`` is beyond its mean goes one way as likely as the other whatever came before, so that sums of
tokens stand out of the noise no more than single tokens do. And a token is likelier to be drawn
where the server's rounding favors it, which adds about a quarter of the noise's variance to the
share: 0.0004 at 0.04 nats a token.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import variance
from typing import Literal

CLEAR = 5.0
"""Standard errors that the share must be away from the middle. From the far side of it that
happens less than once in a million times, so a verdict is right however little is known of the
noise."""
_SURE = 3.0
"""Standard errors beyond ``CLEAR`` at which a verdict is all but sure to come."""
_NEAR = 0.1
"""What the share may be off, and what of the movement may be left over, without a reason."""
_NOISE_RATIO = 2.0
"""The server's rounding errors on two sets of texts are alike up to this factor."""
LARGEST_NOISE = 0.3
"""Nats a token (RMS). bfloat16 brings 0.03 to 0.09; who differs by more has other weights."""
_MOST_NOISE = 0.75
"""Share of the movement that may be noise before nobody knows how much of it is there."""
_LEAST_NOISE = 1e-4
"""Nats a token: two implementations in float32."""

Values = Sequence[Sequence[float]]
"""One number a token, text by text, in nats."""
Outcome = Literal["applied", "not applied", "mixed", "another", "inconclusive"]


@dataclass(frozen=True, slots=True)
class ServedVerdict:
    """What a server makes of an adapter."""

    outcome: Outcome
    """``applied``; ``not applied``: the server answers as the bare base does. ``mixed``: some texts
    are the adapter's and some the base's. ``another``: it answers like neither of the two.
    ``inconclusive``: the adapter moves these texts too little for the noise."""
    texts: int
    tokens: int
    share: float
    """Of the adapter's movement that is in the server's values: 1 is all of it."""
    error: float
    """Standard error of the share."""
    moved: float
    """By how much the adapter moves a token's log-prob: root mean square, in nats."""
    left: float
    """The same of what is left between the server and the nearer of adapter and base."""
    texts_needed: int | None = None
    """Of an inconclusive verdict: how many texts like these would decide; None where none would."""


@dataclass(frozen=True, slots=True)
class _Side:
    """Sums over a text of what the server is off one of the two policies by, r."""

    left: float
    """Of r^2."""
    score: float
    """Of x r."""
    score_squares: float
    """Of (x r)^2."""

    @classmethod
    def of(cls, moved: Sequence[float], off: Sequence[float]) -> _Side:
        scores = [x * r for x, r in zip(moved, off, strict=True)]
        return cls(_squares(off), math.fsum(scores), _squares(scores))


@dataclass(frozen=True, slots=True)
class _Text:
    """One text, reduced to what is summed."""

    tokens: int
    moved: float
    """Sum of x^2."""
    sides: tuple[_Side, _Side]
    """Without the adapter, and with it."""

    @classmethod
    def of(cls, m: Sequence[float], a: Sequence[float], b: Sequence[float]) -> _Text:
        moved = _less(a, b)
        sides = _Side.of(moved, _less(m, b)), _Side.of(moved, _less(m, a))
        return cls(len(moved), _squares(moved), sides)

    @property
    def from_middle(self) -> float:
        """By how much the sum of x (m - b) is above half of that of x^2."""
        return (self.sides[0].score + self.sides[1].score) / 2

    def clearly(self, noise: float) -> int:
        """Return 1 where this text alone is clearly the adapter's, -1 the base's, 0 neither."""
        spread = max(noise**2 * self.moved, self.sides[self.from_middle > 0].score_squares)
        if self.from_middle**2 <= CLEAR**2 * spread:
            return 0
        return 1 if self.from_middle > 0 else -1


def judge_served(
    served: Values,
    adapted: Values,
    base: Values,
    *,
    noise: float | None,
    exact: bool,
) -> ServedVerdict:
    """Say whether a server applies an adapter.

    Args:
        served: the server's log-probs of the texts that it wrote, two texts or more.
        adapted: the same by the base with the adapter, computed here.
        base: by the base without it. It differs from ``adapted``.
        noise: RMS of (server - here) in nats a token, seen where the server was asked for the bare
            base; None where it does not serve that.
        exact: whether what is computed here has next to no noise of its own, as in float32.
    """
    texts = [_Text.of(*rows) for rows in zip(served, adapted, base, strict=True)]
    tokens = sum(text.tokens for text in texts)
    moved = math.fsum(text.moved for text in texts)
    share = 0.5 + math.fsum(text.from_middle for text in texts) / moved
    side = share > 0.5
    movement = math.sqrt(moved / tokens)
    # A text has one policy, and several may have several.
    nearest = math.sqrt(math.fsum(min(one.left for one in text.sides) for text in texts) / tokens)
    found = ServedVerdict(
        "inconclusive",
        texts=len(texts),
        tokens=tokens,
        share=share,
        # By text, as the noise within one may be correlated; it is larger on unlikely tokens.
        error=math.sqrt(variance([text.sides[side].score for text in texts]) * len(texts)) / moved,
        moved=movement,
        left=math.sqrt(math.fsum(text.sides[side].left for text in texts) / tokens),
    )
    allowed = LARGEST_NOISE if noise is None else _NOISE_RATIO * noise
    if nearest > max(allowed, _NEAR * movement, _LEAST_NOISE):
        return replace(found, outcome="another")
    if {1, -1} <= {text.clearly(max(nearest, _LEAST_NOISE)) for text in texts}:
        return replace(found, outcome="mixed")
    # At most: as if all that is left were noise of what is computed here.
    own = 0.0 if exact else min(1.0, (nearest / movement) ** 2)
    return _by_share(found, own)


def _by_share(found: ServedVerdict, own: float) -> ServedVerdict:
    """Decide by the share alone, ``own`` being what noise in x may have pulled it to the middle."""
    from_middle, clear = abs(found.share - 0.5), CLEAR * found.error
    inside, beyond = 0.5 - from_middle, from_middle - 0.5
    if inside > _NEAR + clear + own or beyond > _NEAR + clear:
        return replace(found, outcome="another")
    if from_middle >= clear:
        return replace(found, outcome="applied" if found.share > 0.5 else "not applied")
    needed = None
    if own < _MOST_NOISE:
        needed = math.ceil(found.texts * (2 * (CLEAR + _SURE) * found.error / (1 - own)) ** 2)
    return replace(found, texts_needed=needed)


def _less(values: Sequence[float], others: Sequence[float]) -> list[float]:
    return [one - other for one, other in zip(values, others, strict=True)]


def _squares(values: Sequence[float]) -> float:
    return math.fsum(value * value for value in values)
