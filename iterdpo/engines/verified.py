"""An engine that must prove, before a policy writes or judges, that it applies that policy.

The trainer left texts whose log-probabilities the training moved, with the values before and
after. The engine measures the same texts. Each must come out near the policy's own value: near
the other policy's, it applies an older adapter or none; here and there, it mixes the two in one
call; near neither, it answers with something stale. Everything it wrote would be a lie.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from iterdpo.engines.base import (
    ChoiceLogprobs,
    Completion,
    Engine,
    PromptTooLong,
    Sampling,
    TokenSequence,
)
from iterdpo.engines.usage import Usage
from iterdpo.errors import LineageError
from iterdpo.models.canary import CANARY_FILE, Canary
from iterdpo.models.chat_messages import Request
from iterdpo.records import Policy

log = logging.getLogger(__name__)

_CLEAR = 3.0
"""A text tells two policies apart when it moved by this many times the measured noise."""
_NEAR = 0.1
"""A value belongs to a policy within this share of the movement, or within clear noise."""

Outcome = Literal["applied", "other", "mixed", "neither", "inconclusive"]


@dataclass(frozen=True, slots=True)
class CanaryResult:
    """What the engine made of the canary's texts. Distances are mean |log-prob| in nats."""

    outcome: Outcome
    """``applied``: every telling text is near the claimed policy. ``other``: all are nearer to the
    other one. ``mixed``: some are. ``neither``: some are near no one. ``inconclusive``: training
    moved no text clearly beyond the noise."""
    texts: int
    """How many texts tell the two policies apart."""
    astray: int
    """How many of these are not near the claimed policy."""
    moved: float
    """How far training moved the texts."""
    to_claimed: float
    """From the engine to the policy that it was asked for."""
    to_other: float
    """From the engine to the policy on the other side of the training."""
    noise: float


def judge_canary(
    claimed: Sequence[float], other: Sequence[float], noise: float, measured: Sequence[float]
) -> CanaryResult:
    """Say which policy the engine's values belong to.

    Args:
        claimed: log-prob of each text under the policy that was asked for, by the trainer, in nats.
        other: the same under the policy on the other side of the training.
        noise: largest difference that engine and trainer have anyway.
        measured: the engine's values.
    """
    rows = list(zip(claimed, other, measured, strict=True))
    telling = [row for row in rows if abs(row[0] - row[1]) > _CLEAR * noise]
    astray = [
        (own, theirs, value)
        for own, theirs, value in telling
        if abs(value - own) > max(_CLEAR * noise, _NEAR * abs(own - theirs))
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
        """How many texts tell the two policies apart."""
        clear = _CLEAR * self.canary.noise
        return sum(abs(text.after - text.before) > clear for text in self.canary.texts)

    def judge(self, measured: Sequence[float]) -> CanaryResult:
        """Compare the engine's values with those of the two policies."""
        after = [text.after for text in self.canary.texts]
        before = [text.before for text in self.canary.texts]
        claimed, other = (after, before) if self.trained else (before, after)
        return judge_canary(claimed, other, self.canary.noise, measured)


class VerifiedEngine:
    """Wraps an engine. A policy must pass every canary that tells it from another one.

    A policy's own training left one that tells it from its parent; that of each of its children
    tells it from them, once they are known: so the bare M0 is proven too after M1 was served. Where
    other weights were loaded meanwhile, as when every policy is a checkpoint of its own, the policy
    that comes back is proven again by one canary, the most telling one.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.results: dict[str, CanaryResult] = {}
        """The latest of each policy, by fingerprint."""
        self._checks: dict[str, dict[str, CanaryCheck]] = {}
        self._passed: set[tuple[str, str]] = set()
        self._checked_at: dict[str, int] = {}
        """The engine's ``starts`` when it last measured for a policy, by fingerprint."""
        self._asleep = False

    @property
    def identity(self) -> Mapping[str, object]:
        return self.engine.identity

    @property
    def shard_rows(self) -> int:
        return self.engine.shard_rows

    @property
    def streams(self) -> bool:
        return self.engine.streams

    @property
    def starts(self) -> int:
        return self.engine.starts

    @property
    def usage(self) -> Usage:
        return self.engine.usage

    def generate(
        self, requests: Sequence[Request], policy: Policy, sampling: Sampling
    ) -> Iterator[Completion | PromptTooLong]:
        self.verify(policy)
        yield from self.engine.generate(requests, policy, sampling)

    def choice_logprobs(
        self, requests: Sequence[Request], choices: Sequence[str], policy: Policy
    ) -> Iterator[ChoiceLogprobs | PromptTooLong]:
        self.verify(policy)
        yield from self.engine.choice_logprobs(requests, choices, policy)

    def sequence_logprobs(self, sequences: Sequence[TokenSequence], policy: Policy) -> list[float]:
        self.verify(policy)
        return self.engine.sequence_logprobs(sequences, policy)

    def verify(self, policy: Policy) -> None:
        """Run the policy's canaries, each once, and one of them after every load of the model.

        Raises:
            LineageError: the engine does not apply the policy.
        """
        self._learn_of(policy)
        for source, check in self._due(policy.fingerprint):
            texts = [TokenSequence(text.prompt_ids, text.token_ids) for text in check.canary.texts]
            result = check.judge(self.engine.sequence_logprobs(texts, policy))
            self.results[policy.fingerprint] = result
            require_applied(policy.name, check.other, result)
            self._passed.add((policy.fingerprint, source))
            self._checked_at[policy.fingerprint] = self.engine.starts

    def _due(self, fingerprint: str) -> list[tuple[str, CanaryCheck]]:
        """Return the checks that the policy must pass now, by the policy that each is from."""
        checks = self._checks.get(fingerprint, {})
        new = [item for item in checks.items() if (fingerprint, item[0]) not in self._passed]
        if new or not checks or self._checked_at[fingerprint] == self.engine.starts:
            return new
        return [max(checks.items(), key=lambda item: item[1].telling)]

    def _learn_of(self, policy: Policy) -> None:
        """Read the policy's canary, for itself and for its parent."""
        own = self._checks.setdefault(policy.fingerprint, {})
        place = policy.trained_in
        if place is None or policy.fingerprint in own or not (place / CANARY_FILE).is_file():
            return
        canary = Canary.read(place / CANARY_FILE)
        own[policy.fingerprint] = CanaryCheck(canary, "the policy before", trained=True)
        if policy.parent is not None:
            parents = self._checks.setdefault(policy.parent, {})
            parents[policy.fingerprint] = CanaryCheck(canary, policy.name, trained=False)

    def sleep(self) -> bool:
        self._asleep = self.engine.sleep()
        return self._asleep

    def wake(self) -> None:
        """Wake the engine; if it really slept, every policy must prove itself again."""
        self.engine.wake()
        if self._asleep:
            self._passed.clear()
        self._asleep = False

    def close(self) -> None:
        self.engine.close()
        self._passed.clear()  # should it be asked again, it loads everything anew


def require_applied(name: str, other: str, result: CanaryResult) -> None:
    """Raise ``LineageError`` unless the engine applies the policy ``name``, as far as it shows."""
    if result.outcome == "applied":
        return
    if result.outcome == "inconclusive":
        log.warning(
            "canary of %s is inconclusive: training moved its texts by %.2g nats, engine and "
            "trainer differ by up to %.2g anyway",
            name,
            result.moved,
            result.noise,
        )
        return
    says = {
        "other": f"is asked for {name} and answers like {other}: the adapter is not applied",
        "mixed": f"answers {result.astray} of {result.texts} of {name}'s texts like {other}: it "
        "mixes two policies in one call",
        "neither": f"is asked for {name} and answers neither like it nor like {other} on "
        f"{result.astray} of {result.texts} texts: a stale cache, or another adapter",
    }[result.outcome]
    raise LineageError(
        f"the engine {says} (mean distance {result.to_claimed:.4f} nats to {name}, "
        f"{result.to_other:.4f} to {other}); nothing was written with it"
    )
