"""A model answers a benchmark's questions, turn by turn."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from iterdpo.conversation import Message
from iterdpo.engines.base import Engine, Sampling
from iterdpo.models.chat_messages import Request
from iterdpo.records import Policy
from iterdpo.runtime.progress import progress
from iterdpo.tools.benchmark.formats import BenchmarkQuestion
from iterdpo.tools.compare.answers import write_answers

log = logging.getLogger(__name__)


def answer_questions(
    engine: Engine,
    policy: Policy,
    questions: Sequence[BenchmarkQuestion],
    sampling: Sampling,
    system: str | None,
    *,
    own_temperature: bool = False,
) -> list[tuple[str, ...]]:
    """Return an answer a turn for each question, in their order.

    Each turn sees the ones before it with the model's own answers. Questions that the benchmark
    samples at one temperature are asked together. What does not fit the model's context gets an
    empty answer, which is counted in the log: a benchmark has no place for a missing one.

    Args:
        engine: runs the model.
        policy: the model.
        questions: what to ask.
        sampling: one sample a question, at the run's settings.
        system: the system message before every conversation.
        own_temperature: sample at ``sampling.temperature`` whatever the benchmark says.
    """
    given: list[list[str]] = [[] for _ in questions]
    missing = truncated = 0
    for turn in range(max(len(question.turns) for question in questions)):
        asked = [n for n, question in enumerate(questions) if turn < len(question.turns)]
        heats = {n: questions[n].temperature for n in asked}
        for heat in dict.fromkeys(heats.values()):
            group = [n for n in asked if heats[n] == heat]
            requests = [request_of(questions[n], given[n], system) for n in group]
            used = sampling if own_temperature or heat is None else _heated(sampling, heat)
            label = f"{policy.name}, turn {turn + 1}"
            writing = progress(
                write_answers(engine, requests, policy, used), len(group), label, "answers"
            )
            for n, answer in zip(group, writing, strict=True):
                given[n].append(answer.text or "")
                missing += answer.text is None
                truncated += answer.truncated
    if missing:
        log.warning(
            "%s: %d turns do not fit its context; their answer is empty", policy.name, missing
        )
    if truncated:
        log.warning(
            "%s: %d answers were cut off at %d tokens (--max-tokens)",
            policy.name, truncated, sampling.max_tokens,
        )  # fmt: skip
    return [tuple(turns) for turns in given]


def request_of(question: BenchmarkQuestion, given: Sequence[str], system: str | None) -> Request:
    """Return the conversation up to the next turn: as many turns are done as answers are given."""
    messages = [Message("system", system)] if system else []
    for text, answer in zip(question.turns, given, strict=False):
        messages += [Message("user", text), Message("assistant", answer)]
    return Request((*messages, Message("user", question.turns[len(given)])))


def _heated(sampling: Sampling, temperature: float) -> Sampling:
    if temperature == 0:
        return replace(sampling, temperature=0.0, top_p=1.0, top_k=0)
    return replace(sampling, temperature=temperature)
