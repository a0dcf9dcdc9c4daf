"""What the loop asks of anything that can run a model.

An engine applies a policy (base weights plus at most one adapter) to requests. One engine lives
for a whole run; a call never mixes policies. One contract suite, ``tests/contract``, runs over
every implementation.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from iterdpo.engines.usage import Usage
from iterdpo.models.chat_messages import Request
from iterdpo.records import FinishReason, Policy, Thought


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to sample. ``temperature`` 0 is greedy; ``top_k`` 0 and ``top_p`` 1 switch those off."""

    n: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_tokens: int = 256
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Completion:
    """One sampled continuation of one request."""

    request: int
    """Index of the request in the call."""
    sample: int
    """Which of the request's ``n`` samples, from 0."""
    text: str
    """The answer alone, without a thought before it."""
    prompt_token_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    """Log-probability of each token under the model at temperature 1, whatever was sampled at."""
    finish_reason: FinishReason
    seed: int
    """The seed that the engine really used for this sample or its batch."""
    thought: Thought | None = None
    """What the model thought before it answered."""


@dataclass(frozen=True, slots=True)
class ChoiceLogprobs:
    """Log-probability of each choice as the very next token, not renormalized."""

    request: int
    logprobs: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class PromptTooLong:
    """A request that does not fit the model's context: answered by this, never truncated."""

    request: int
    tokens: int
    limit: int


@dataclass(frozen=True, slots=True)
class TokenSequence:
    """A prompt and a continuation as token ids, to be scored as they stand."""

    prompt_token_ids: tuple[int, ...]
    token_ids: tuple[int, ...]


class EngineFactory(ABC):
    """What ``engine._target_`` names: it opens the engine of a run.

    An engine of a user's own may be its own factory: one class that derives from this, implements
    ``Engine``, and opens itself. Besides its settings it may have fields that a run provides:
    ``device``, ``model`` (the model's settings), ``training``, ``seed`` and ``checkpoint``, a
    function that returns the model's directory.
    """

    name: ClassVar[str]
    version: ClassVar[int]

    @abstractmethod
    def open(self) -> Engine:
        """Return the engine. No model is loaded yet."""


class Engine(Protocol):
    """Runs a policy. Implementations import their library lazily."""

    @property
    def identity(self) -> Mapping[str, object]:
        """What of this engine may change results: part of every key of what it computes."""

    @property
    def shard_rows(self) -> int:
        """How many rows (samples, choices) a caller should ask for and keep together."""

    @property
    def streams(self) -> bool:
        """Whether a row's answer does not depend on the call it is in: then a caller should ask
        for everything at once and keep the answers shard by shard as they come.
        """

    @property
    def starts(self) -> int:
        """How often a model was loaded: 1 for a whole run, or one more each restart."""

    @property
    def usage(self) -> Usage:
        """Tokens since the engine was made."""

    def generate(
        self, requests: Sequence[Request], policy: Policy, sampling: Sampling
    ) -> Iterator[Completion | PromptTooLong]:
        """Yield ``sampling.n`` completions a request, in the order asked, as they are ready."""

    def choice_logprobs(
        self, requests: Sequence[Request], choices: Sequence[str], policy: Policy
    ) -> Iterator[ChoiceLogprobs | PromptTooLong]:
        """Yield the log-probability of each of ``choices`` as the next token of each request.

        Raises:
            UserError: a choice is not exactly one token of the model's vocabulary.
        """

    def sequence_logprobs(
        self, sequences: Sequence[TokenSequence], policy: Policy
    ) -> list[tuple[float, ...]]:
        """Return log p of each token of each sequence's continuation, in nats."""

    def sleep(self) -> bool:
        """Give accelerator memory back until ``wake``.

        Returns:
            Whether anything was given back: an engine that took it again must prove itself again.
        """

    def wake(self) -> None:
        """Be ready again after ``sleep``."""

    def close(self) -> None:
        """Release everything. A later call would load it all again."""
