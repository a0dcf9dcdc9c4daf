"""Which of two answers is better: a judge of pairs, asked in both orders.

A judge that sees two answers side by side likes one place better than the other (Judging
LLM-as-a-Judge with MT-Bench, arXiv 2306.05685, section 3.3). Every pair is therefore shown both
ways round, and an answer wins only where it wins in both.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from iterdpo.engines.base import ChoiceLogprobs, Engine, PromptTooLong
from iterdpo.judging.pairwise_rubrics import PairwiseRubric
from iterdpo.models.chat_messages import Request
from iterdpo.records import Candidate, Comparison, Policy, Prompt, UnscoredReason, record_id

Duel = tuple[Candidate, Candidate]
"""An answer and the one it is compared with, to the same prompt."""

CHOICES = ("1", "2")
"""What a judge answers: the number of the better response. Digits, as scores are, because every
tokenizer that spells a score as one token spells these so."""


class Arbiter(Protocol):
    """Compares answers two by two: a policy, a reward model, an oracle, an endpoint, people."""

    @property
    def name(self) -> str:
        """What reports call it."""

    @property
    def identity(self) -> Mapping[str, object]:
        """What of it may change its comparisons, as JSON: part of their key."""

    @property
    def shard_pairs(self) -> int:
        """How many pairs a caller should ask for and keep together, 1 or more."""

    @property
    def streams(self) -> bool:
        """Whether a pair's comparison does not depend on the call it is in: see ``Engine``."""

    def compare(
        self, prompts: Sequence[Prompt], duels: Sequence[Duel], policy: Policy | None
    ) -> Iterator[Comparison]:
        """Yield one comparison a pair of answers, in the order of ``duels``, as they are ready.

        Args:
            prompts: at least the prompts of the answers.
            duels: each answer with the one it is compared with.
            policy: the model that compares, where the arbiter is a model of the run.

        Raises:
            ValueError: an answer's prompt is not among ``prompts``, or the two have not the same.
        """

    def close(self) -> None:
        """Give back what only comparing needs. A later call would take it again."""


@dataclass(frozen=True, slots=True)
class Preference:
    """How a judge chose between two responses, read from its next token."""

    first: float
    """Probability of the first one, of the two, in [0, 1]."""
    mass: float
    """Probability that the two choices held together before renormalizing, in [0, 1]."""


def preference_of(logprobs: Sequence[float]) -> Preference | None:
    """Return p(1) / (p(1) + p(2)), or None where neither choice has any probability.

    Args:
        logprobs: natural-log probability of each of ``CHOICES`` as the next token, not
            renormalized; ``-inf`` is allowed. Shape (2,).
    """
    one, two = logprobs
    if math.isnan(one) or math.isnan(two) or max(one, two) == -math.inf:
        return None
    gap = two - one
    # Exact at both ends: exp never sees a positive number.
    first = 1 / (1 + math.exp(gap)) if gap <= 0 else math.exp(-gap) / (1 + math.exp(-gap))
    mass = math.exp(min(one, 0.0)) + math.exp(min(two, 0.0))
    return Preference(first, min(mass, 1.0))


class PairwiseJudge:
    """Asks a policy, through an engine, which of two answers is better. Implements ``Arbiter``.

    One token is read in each order. Equal texts are a tie, and nobody is asked.
    """

    def __init__(
        self,
        engine: Engine,
        rubric: PairwiseRubric,
        *,
        name: str,
        min_mass: float,
        system: str | None = None,
    ) -> None:
        """
        Args:
            engine: what the policy runs on.
            rubric: what is asked.
            name: what reports call this judge.
            min_mass: with less probability on the two choices, in [0, 1], an order is not read.
            system: system message put before every request.
        """
        self.engine, self.rubric, self.name = engine, rubric, name
        self.min_mass, self.system = min_mass, system

    @property
    def identity(self) -> Mapping[str, object]:
        return {
            "arbiter": "pairwise",
            "rubric": self.rubric.sha256,
            "min_mass": self.min_mass,
            "system": self.system,
            "engine": dict(self.engine.identity),
        }

    @property
    def shard_pairs(self) -> int:
        return max(1, self.engine.shard_rows // 2)

    @property
    def streams(self) -> bool:
        return self.engine.streams

    def compare(
        self, prompts: Sequence[Prompt], duels: Sequence[Duel], policy: Policy | None
    ) -> Iterator[Comparison]:
        if policy is None:
            raise ValueError("a policy must be given to compare with")
        texts = prompt_texts(prompts, duels)
        requests = [
            Request.of(self.rubric.render(texts[answer.prompt_id], first, second), self.system)
            for answer, opponent in duels
            if answer.text != opponent.text
            for first, second in both_orders(answer, opponent)
        ]
        answers = enumerate(self.engine.choice_logprobs(requests, CHOICES, policy))
        for duel in duels:
            if duel[0].text == duel[1].text:
                yield tie(duel, policy.fingerprint)
            else:
                orders = [self._read(*next(answers)) for _ in CHOICES]
                yield comparison(duel, policy.fingerprint, orders)

    def close(self) -> None:
        """Nothing: the engine is the run's."""

    def _read(self, asked: int, answer: ChoiceLogprobs | PromptTooLong) -> Order:
        # A preference given to the wrong pair would be noise that nobody sees.
        if answer.request != asked:
            raise RuntimeError(
                f"the engine answered request {answer.request} where {asked} was due"
            )
        if isinstance(answer, PromptTooLong):
            said = f"{answer.tokens} tokens, at most {answer.limit}"
            return Order(None, said, UnscoredReason.PROMPT_TOO_LONG)
        found = preference_of(answer.logprobs)
        said = repr(answer.logprobs)
        if found is None or found.mass < self.min_mass:
            return Order(None, said, UnscoredReason.NO_MASS)
        return Order(found.first, said)


@dataclass(frozen=True, slots=True)
class Order:
    """What a judge said of two responses in one order."""

    first: float | None
    """Preference for the response shown first, in [0, 1]; None where it could not be read."""
    said: str
    unscored: UnscoredReason | None = None


def both_orders(answer: Candidate, opponent: Candidate) -> tuple[tuple[str, str], tuple[str, str]]:
    """Return the two texts with the answer first, then with the opponent first."""
    return (answer.text, opponent.text), (opponent.text, answer.text)


def comparison(duel: Duel, judge: str, orders: Sequence[Order]) -> Comparison:
    """Put what was said in the two orders of ``both_orders`` together.

    Args:
        duel: the answer and its opponent.
        judge: fingerprint or name of who compared.
        orders: with the answer first, then with the opponent first.
    """
    forward, backward = orders
    answer, opponent = duel
    raw = (forward.said, backward.said)
    unread = [order.unscored for order in orders if order.unscored is not None]
    return Comparison(
        id=record_id("comparison", (answer.id, opponent.id, judge), 0, "\n".join(raw)),
        prompt_id=answer.prompt_id,
        answer_id=answer.id,
        opponent_id=opponent.id,
        judge=judge,
        forward=forward.first,
        backward=None if backward.first is None else 1 - backward.first,
        raw=raw,
        unscored=unread[0].value if unread else "",
    )


def tie(duel: Duel, judge: str) -> Comparison:
    """Return the comparison of two equal texts."""
    return comparison(duel, judge, [Order(0.5, "equal texts"), Order(0.5, "equal texts")])


def prompt_texts(prompts: Sequence[Prompt], duels: Sequence[Duel]) -> dict[str, str]:
    """Return the text of each prompt by id, having checked that every pair has one.

    Raises:
        ValueError: an answer's prompt is not among ``prompts``, or the two have not the same.
    """
    texts = {prompt.id: prompt.text for prompt in prompts}
    for answer, opponent in duels:
        if answer.prompt_id not in texts:
            raise ValueError(f"answer {answer.id}: its prompt {answer.prompt_id} was not given")
        if answer.prompt_id != opponent.prompt_id:
            raise ValueError(f"answers {answer.id} and {opponent.id} have different prompts")
    return texts
