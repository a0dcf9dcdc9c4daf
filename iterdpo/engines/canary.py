"""Which policy an engine applies, by the log-probs that it gives the texts of a canary."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Literal

from iterdpo.engines.applied_share import CLEAR, Power, applied_share, power_of
from iterdpo.models.canary import Canary

_CLEAR_TEXT = 3.0
"""A text tells two policies apart when it moved by this many times the measured noise."""
_NEAR = 0.1
"""A value belongs to a policy within this share of the movement, or within clear noise."""
_BEYOND = 0.5
"""A slope may pass that of its policy by this much, or by clear noise, before it is nobody's."""

Outcome = Literal["applied", "other", "mixed", "neither", "inconclusive"]


@dataclass(frozen=True, slots=True)
class CanaryResult:
    """What the engine made of the canary's texts. Distances are mean |log-prob| in nats."""

    outcome: Outcome
    """``applied``: every telling text is near the claimed policy, or all texts together are.
    ``other``: they are nearer to the other one. ``mixed``: some are. ``neither``: some are near no
    one. ``inconclusive``: training moved nothing clearly beyond the noise."""
    texts: int
    """How many texts tell the two policies apart by themselves."""
    astray: int
    """How many of these are not near the claimed policy."""
    moved: float
    """How far training moved the texts."""
    to_claimed: float
    """From the engine to the policy that it was asked for."""
    to_other: float
    """From the engine to the policy on the other side of the training."""
    noise: float
    share: float | None = None
    """How much of the training all tokens together show: 1 for the trained policy, 0 for the one
    before. None where that is lost in the noise."""
    texts_needed: int | None = None
    """Of an inconclusive canary: how many texts like these would decide; None where none would."""


@dataclass(frozen=True, slots=True)
class CanaryCheck:
    """A canary as one of its two policies must pass it."""

    canary: Canary
    other: str
    """Name of the policy on the other side."""
    trained: bool
    """Whether the policy is the one after the training."""

    @property
    def telling(self) -> int:
        """How many texts tell the two policies apart by themselves."""
        clear = _CLEAR_TEXT * self.canary.noise
        return sum(abs(text.moved) > clear for text in self.canary.texts)

    def judge(self, measured: Sequence[Sequence[float]]) -> CanaryResult:
        """Compare the engine's values, one a token, with those of the two policies.

        A text that clearly belongs elsewhere decides, as a call may mix policies row by row; where
        none tells anything by itself, all of them together do.
        """
        texts = self.canary.texts
        after = [math.fsum(text.after) for text in texts]
        before = [math.fsum(text.before) for text in texts]
        claimed, other = (after, before) if self.trained else (before, after)
        result = judge_texts(claimed, other, self.canary.noise, [*map(math.fsum, measured)])
        if result.outcome not in ("applied", "inconclusive"):
            return result
        return self._judge_together(result, measured)

    def _judge_together(
        self, result: CanaryResult, measured: Sequence[Sequence[float]]
    ) -> CanaryResult:
        texts, floor, groups = self.canary.texts, self.canary.floor, self.canary.groups
        moved = [_less(text.after, text.before) for text in texts]
        noise = [_less(text.engine, text.before) for text in texts]
        power = power_of(moved, noise, floor, groups)
        if not power.tells:
            needed = power.texts_needed(len(texts))
            return replace(result, texts_needed=needed if not result.texts else None)
        now = [_less(values, text.engine) for values, text in zip(measured, texts, strict=True)]
        share = applied_share(power, moved, now, noise, floor, groups)
        outcome = outcome_of(share, power, trained=self.trained)
        return replace(result, outcome=outcome, share=share)


def outcome_of(share: float, power: Power, *, trained: bool) -> Outcome:
    """Say which policy a slope belongs to, of a canary that tells.

    Args:
        share: as ``applied_share`` gives it.
        power: of the canary.
        trained: whether the claimed policy is the trained one.
    """
    is_trained = share >= power.threshold
    beyond = share - 1 - power.bias if is_trained else -share
    error = power.error_after if is_trained else power.error_before
    if beyond > max(_BEYOND, 1.25 * CLEAR * error):
        return "neither"
    return "applied" if is_trained == trained else "other"


def judge_texts(
    claimed: Sequence[float], other: Sequence[float], noise: float, measured: Sequence[float]
) -> CanaryResult:
    """Say which policy the engine's values belong to, text by text.

    Args:
        claimed: log-prob of each text under the policy that was asked for, by the trainer, in nats.
        other: the same under the policy on the other side of the training.
        noise: largest difference that engine and trainer have anyway.
        measured: the engine's values.
    """
    rows = list(zip(claimed, other, measured, strict=True))
    telling = [row for row in rows if abs(row[0] - row[1]) > _CLEAR_TEXT * noise]
    astray = [
        (own, theirs, value)
        for own, theirs, value in telling
        if abs(value - own) > max(_CLEAR_TEXT * noise, _NEAR * abs(own - theirs))
    ]
    nearer_other = sum(abs(value - theirs) < abs(value - own) for own, theirs, value in astray)
    outcome: Outcome
    if not telling:
        outcome = "inconclusive"
    elif not astray:
        outcome = "applied"
    elif nearer_other == len(telling):
        outcome = "other"
    else:
        outcome = "mixed" if nearer_other == len(astray) else "neither"
    return CanaryResult(
        outcome=outcome,
        texts=len(telling),
        astray=len(astray),
        moved=fmean(abs(own - theirs) for own, theirs, _ in rows),
        to_claimed=fmean(abs(value - own) for own, _, value in rows),
        to_other=fmean(abs(value - theirs) for _, theirs, value in rows),
        noise=noise,
    )


def _less(values: Sequence[float], others: Sequence[float]) -> list[float]:
    return [one - other for one, other in zip(values, others, strict=True)]
