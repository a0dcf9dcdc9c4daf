"""An engine that answers from a table: for tests and dry runs, with no model and no torch.

Every method is a pure function of the request and the seed, so a scripted run is reproducible and
each of its numbers can be worked out by hand.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from iterdpo.engines.base import (
    ChoiceLogprobs,
    Completion,
    PromptTooLong,
    Sampling,
    TokenSequence,
)
from iterdpo.engines.usage import Usage
from iterdpo.models.chat_messages import Request
from iterdpo.records import FinishReason, Policy
from iterdpo.store.hashing import derive_seed

ScriptedAnswer = Callable[[Request, Policy, int], str]
"""(request, policy, sample) -> text."""
ScriptedScores = Callable[[Request, Policy], Mapping[str, float]]
"""(request, policy) -> probability of each choice; the ones left out have none."""

TRUNCATED = "\u2026"
"""An answer that ends with this is reported as cut off by ``max_tokens``."""


@dataclass
class ScriptedEngine:
    """Implements ``Engine`` from two functions, and keeps a log of what it was asked."""

    answer: ScriptedAnswer
    choose: ScriptedScores = lambda request, policy: {}
    context: int | None = None
    """Longest prompt in words; longer ones are answered by ``PromptTooLong``."""
    vocabulary: int = 50_000
    """Token ids lie below this, so that a model with as many words can learn from the answers."""
    calls: list[tuple[str, str, int]] = field(default_factory=list)
    """(method, policy name, requests) of every call."""
    shard_rows: int = 512
    streams: bool = True
    starts: int = 1
    usage: Usage = field(default_factory=Usage)

    @property
    def identity(self) -> Mapping[str, object]:
        return {"engine": "scripted", "context": self.context}

    def generate(
        self, requests: Sequence[Request], policy: Policy, sampling: Sampling
    ) -> Iterator[Completion | PromptTooLong]:
        self.calls.append(("generate", policy.name, len(requests)))
        for index, request in enumerate(requests):
            words = prompt_words(request)
            if self.context is not None and len(words) > self.context:
                yield PromptTooLong(index, len(words), self.context)
                continue
            for sample in range(sampling.n):
                text = self.answer(request, policy, sample)
                tokens = word_ids(text.split(), self.vocabulary)
                self.usage += Usage(len(words), 0, len(tokens))
                yield Completion(
                    request=index,
                    sample=sample,
                    text=text,
                    prompt_token_ids=word_ids(words, self.vocabulary),
                    token_ids=tokens,
                    logprobs=(-1.0,) * len(tokens),
                    finish_reason=(
                        FinishReason.LENGTH if text.endswith(TRUNCATED) else FinishReason.STOP
                    ),
                    seed=derive_seed(sampling.seed, index, sample),
                )

    def choice_logprobs(
        self, requests: Sequence[Request], choices: Sequence[str], policy: Policy
    ) -> Iterator[ChoiceLogprobs | PromptTooLong]:
        self.calls.append(("choice_logprobs", policy.name, len(requests)))
        for index, request in enumerate(requests):
            words = prompt_words(request)
            if self.context is not None and len(words) > self.context:
                yield PromptTooLong(index, len(words), self.context)
                continue
            shares = self.choose(request, policy)
            self.usage += Usage(len(words))
            yield ChoiceLogprobs(index, tuple(_log(shares.get(choice, 0.0)) for choice in choices))

    def sequence_logprobs(
        self, sequences: Sequence[TokenSequence], policy: Policy
    ) -> list[tuple[float, ...]]:
        self.calls.append(("sequence_logprobs", policy.name, len(sequences)))
        return [(-1.0,) * len(sequence.token_ids) for sequence in sequences]

    def sleep(self) -> bool:
        """Nothing to give back."""
        return False

    def wake(self) -> None:
        """Nothing to take again."""

    def close(self) -> None:
        """Nothing to release."""


def prompt_words(request: Request) -> list[str]:
    """Return the words of all messages: what this engine counts as prompt tokens."""
    return [word for message in request.messages for word in message.content.split()]


def word_ids(words: Sequence[str], vocabulary: int) -> tuple[int, ...]:
    """Return one token id a word, the same for the same word everywhere."""
    return tuple(derive_seed(0, word) % vocabulary for word in words)


def _log(share: float) -> float:
    return math.log(share) if share > 0 else -math.inf
