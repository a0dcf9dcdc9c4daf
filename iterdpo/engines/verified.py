"""An engine that must prove, before a policy writes or judges, that it applies that policy.

The trainer left texts whose log-probabilities the training moved, with the values before and
after. The engine measures the same texts. Each must come out near the policy's own value: near
the other policy's, it applies an older adapter or none; here and there, it mixes the two in one
call; near neither, it answers with something stale. Everything it wrote would be a lie.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence

from iterdpo.engines.base import (
    ChoiceLogprobs,
    Completion,
    Engine,
    PromptTooLong,
    Sampling,
    TokenSequence,
)
from iterdpo.engines.canary import CanaryCheck, CanaryResult
from iterdpo.engines.usage import Usage
from iterdpo.errors import LineageError
from iterdpo.models.canary import CANARY_FILE, Canary
from iterdpo.models.chat_messages import Request
from iterdpo.records import Policy

log = logging.getLogger(__name__)


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

    def sequence_logprobs(
        self, sequences: Sequence[TokenSequence], policy: Policy
    ) -> list[tuple[float, ...]]:
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
        needed = result.texts_needed
        log.warning(
            "canary of %s is inconclusive: training moved its texts by %.2g nats, engine and "
            "trainer differ by up to %.2g anyway; %s",
            name,
            result.moved,
            result.noise,
            f"{needed:,} texts like these would tell" if needed else "more texts would not tell",
        )
        return
    shown = "" if result.share is None else f", {result.share:.2f} of the training is applied"
    says = {
        "other": f"is asked for {name} and answers like {other}: the adapter is not applied",
        "mixed": f"answers {result.astray} of {result.texts} of {name}'s texts like {other}: it "
        "mixes two policies in one call",
        "neither": f"is asked for {name} and answers neither like it nor like {other} on "
        f"{result.astray} of {result.texts} texts: a stale cache, or another adapter",
    }[result.outcome]
    raise LineageError(
        f"the engine {says} (mean distance {result.to_claimed:.4f} nats to {name}, "
        f"{result.to_other:.4f} to {other}{shown}); nothing was written with it"
    )
