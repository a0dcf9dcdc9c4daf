"""An engine that must prove, before a new adapter writes or judges, that it applies it.

The trainer left texts whose log-probabilities the training moved, with the values before and
after. The engine measures the same texts. Near the values after: it applies the adapter. Near
those before: it applies an older one, or none, and everything it wrote would be a lie.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Literal

from iterdpo.engines.base import (
    ChoiceLogprobs,
    Completion,
    Engine,
    PromptTooLong,
    Request,
    Sampling,
    TokenSequence,
)
from iterdpo.errors import LineageError
from iterdpo.records import Policy
from iterdpo.training.spec import CANARY_FILE, Canary

log = logging.getLogger(__name__)

_CLEAR = 3.0
"""A text tells two adapters apart when it moved by this many times the measured noise."""


@dataclass(frozen=True, slots=True)
class CanaryResult:
    """What the engine made of the canary's texts. Distances are mean |log-prob| in nats."""

    outcome: Literal["applied", "not_applied", "inconclusive"]
    moved: float
    """How far training moved the texts."""
    to_after: float
    """From the engine to the trained policy."""
    to_before: float
    """From the engine to the policy before."""
    noise: float


def judge_canary(canary: Canary, measured: Sequence[float]) -> CanaryResult:
    """Say which adapter the engine's values belong to.

    Args:
        canary: the trainer's values.
        measured: the engine's log-prob of each of the canary's texts, in nats.
    """
    pairs = list(zip(canary.texts, measured, strict=True))
    moved = fmean(abs(text.after - text.before) for text, _ in pairs)
    to_after = fmean(abs(value - text.after) for text, value in pairs)
    to_before = fmean(abs(value - text.before) for text, value in pairs)
    outcome: Literal["applied", "not_applied", "inconclusive"]
    if moved <= _CLEAR * canary.noise:
        outcome = "inconclusive"
    else:
        outcome = "applied" if to_after < to_before else "not_applied"
    return CanaryResult(outcome, moved, to_after, to_before, canary.noise)


class VerifiedEngine:
    """Wraps an engine. Each policy's canary runs once, before its first request."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.results: dict[str, CanaryResult] = {}
        """By policy fingerprint."""

    @property
    def identity(self) -> Mapping[str, object]:
        return self.engine.identity

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
        """Run the policy's canary unless it has passed before.

        Raises:
            LineageError: the engine does not apply the policy's adapter.
        """
        if policy.adapter is None or policy.fingerprint in self.results:
            return
        canary_file = Path(policy.adapter.path).parent / CANARY_FILE
        if not canary_file.is_file():
            return
        canary = Canary.read(canary_file)
        texts = [TokenSequence(text.prompt_ids, text.token_ids) for text in canary.texts]
        result = judge_canary(canary, self.engine.sequence_logprobs(texts, policy))
        if result.outcome == "not_applied":
            raise LineageError(
                f"the engine does not apply the adapter of {policy.name}: on {len(texts)} texts it "
                f"is {result.to_before:.4f} nats from the policy before and "
                f"{result.to_after:.4f} from {policy.name}; nothing was written with it"
            )
        if result.outcome == "inconclusive":
            log.warning(
                "canary of %s is inconclusive: training moved its texts by %.2g nats, engine and "
                "trainer differ by up to %.2g anyway",
                policy.name,
                result.moved,
                result.noise,
            )
        self.results[policy.fingerprint] = result

    def sleep(self) -> None:
        self.engine.sleep()

    def wake(self) -> None:
        """Wake the engine; every policy must pass its canary again."""
        self.engine.wake()
        self.results.clear()

    def close(self) -> None:
        self.engine.close()
