"""A policy writes the prompts of an iteration itself, after examples that were given."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import groupby

from iterdpo.engines.base import Engine, PromptTooLong, Sampling
from iterdpo.engines.usage import Meter
from iterdpo.errors import UserError
from iterdpo.models.chat_messages import Request
from iterdpo.prompts.instruction_filter import (
    FilterReason,
    InstructionFilter,
    read_instructions,
    request_text,
)
from iterdpo.prompts.self_instruct import SelfInstructPrompts, Writing
from iterdpo.records import FinishReason, Policy, Prompt
from iterdpo.runtime.progress import Bar
from iterdpo.settings import identity, key_settings
from iterdpo.stages import names
from iterdpo.stages.base import Metrics, RecordStage
from iterdpo.store.hashing import derive_seed
from iterdpo.store.stage import Stored, Work
from iterdpo.store.tables import write_records

RAW_GENERATIONS_FILE = "raw_generations.parquet"
ROUND_REQUESTS = 128
"""Requests of a round at most: what a kill costs, and after how many the model's own instructions
are among the examples."""
MOST_ROUNDS = 99_999_999
"""As many as can be numbered: what ends a search is ``max_tries``."""
WORST_YIELD = 0.25
"""A round is made no larger than would do if this share of what is asked for were kept."""


class GenerationEnd(StrEnum):
    """How an answer to a request for instructions ended."""

    STOP = "stop"
    LENGTH = "length"
    PROMPT_TOO_LONG = "prompt_too_long"
    """There is no answer: the examples do not fit the model's context."""


@dataclass(frozen=True, slots=True)
class RawGeneration:
    """What a policy answered to one request for new instructions, as it stands."""

    round: int
    request: int
    text: str
    end: GenerationEnd
    seed: int


@dataclass(frozen=True)
class SelfInstruct(RecordStage[Prompt]):
    """The prompts of an iteration, written by a fixed policy (Self-Instruct, arXiv 2212.10560).

    Examples are drawn from the given texts that are the loop's and from what the policy has
    written, in this iteration and before. No text that is held out is ever shown, and none that
    resembles one is kept.
    """

    source: SelfInstructPrompts
    count: int
    seed: int
    engine: Engine

    name = names.PROMPTS
    record = Prompt

    @property
    def settings(self) -> Mapping[str, object]:
        return {
            "source": identity(self.source),
            "purpose": "loop",
            "count": self.count,
            "seed": self.seed,
            "engine": dict(self.engine.identity),
            "writing": key_settings(self.writing),
        }

    @property
    def writing(self) -> Writing:
        return self.source.self_instruct

    def compute(
        self,
        work: Work,
        iteration: int,
        policy: Stored[Policy],
        *earlier: Stored[tuple[Prompt, ...]],
    ) -> Metrics:
        written = [prompt.text for stored in earlier for prompt in stored.value]
        taken = self._begin(written)
        fewest = math.ceil(self.count / self.writing.asked)
        limit = math.ceil(self.writing.max_tries * fewest)
        shards = work.shards(RawGeneration, MOST_ROUNDS, 1)
        done = {number: list(some) for number, some in groupby(shards.records(), _round)}
        label = f"{policy.value.name} writes prompts"
        with Meter(self.engine) as meter, Bar(label, "prompts") as bar:
            while len(taken.kept) < self.count and taken.requests < limit:
                if (number := taken.rounds) not in done:
                    size = self._round_size(taken)
                    done[number] = list(self._write(iteration, number, size, taken, policy.value))
                    shards.append(done[number])
                    work.stop.check()
                self._take(taken, done[number], iteration)
                bar.update(min(len(taken.kept), self.count), self.count)
        if len(taken.kept) < self.count:
            raise UserError(self._too_few(taken, iteration))
        kept = self.keep(work, taken.kept[: self.count])
        generations = [generation for number in range(taken.rounds) for generation in done[number]]
        write_records(work.directory / RAW_GENERATIONS_FILE, RawGeneration, generations)
        return {
            "prompts": len(kept),
            "rounds": taken.rounds,
            "requests": taken.requests,
            "requests_too_long": taken.too_long,
            "requests_without_list": taken.without_list,
            "instructions": len(taken.kept) + taken.dropped.total(),
            "dropped": {reason.value: taken.dropped[reason] for reason in FilterReason},
            "surplus": len(taken.kept) - self.count,
            "engine": meter.metrics,
        }

    def _begin(self, written: Sequence[str]) -> _Taken:
        writing, most = self.writing, self.writing.max_words
        given = [text for text in self.source.texts("loop") if len(text.split()) <= most]
        if len(given) < writing.shots:
            raise UserError(
                f"prompts.self_instruct.shots={writing.shots}: {self.source.label} has "
                f"{len(given)} examples of at most {most} words that are not held out; add some, "
                "lower prompts.held_out_share or raise prompts.self_instruct.max_words"
            )
        purposes = ("loop", "evaluation", "judge_reference")
        pool = [text for purpose in purposes for text in self.source.texts(purpose)]
        return _Taken(InstructionFilter(writing, [*pool, *written]), given, list(written))

    def _round_size(self, taken: _Taken) -> int:
        """Return how many requests should do for what is missing, going by those so far."""
        missing = self.count - len(taken.kept)
        return round_size(missing, self.writing.asked, len(taken.kept), taken.requests)

    def _write(
        self, iteration: int, number: int, size: int, taken: _Taken, policy: Policy
    ) -> Iterator[RawGeneration]:
        """Yield what the policy answers to the requests of a round."""
        writing = self.writing
        requests = [
            Request.of(request_text(self._shots(iteration, number, index, taken), writing.asked))
            for index in range(size)
        ]
        sampling = Sampling(
            n=1,
            temperature=writing.temperature,
            top_p=writing.top_p,
            max_tokens=writing.max_tokens,
            seed=derive_seed(self.seed, "instructions", iteration, number),
        )
        for answer in self.engine.generate(requests, policy, sampling):
            if isinstance(answer, PromptTooLong):
                yield RawGeneration(number, answer.request, "", GenerationEnd.PROMPT_TOO_LONG, 0)
            else:
                cut_off = answer.finish_reason is FinishReason.LENGTH
                end = GenerationEnd.LENGTH if cut_off else GenerationEnd.STOP
                yield RawGeneration(number, answer.request, answer.text, end, answer.seed)

    def _shots(self, iteration: int, number: int, index: int, taken: _Taken) -> list[str]:
        shots = self.writing.shots
        own = min(self.writing.written_shots, len(taken.written))
        drawn = ("shots", iteration, number, index)
        given = draw(taken.given, shots - own, self.seed, *drawn)
        mine = draw(taken.written, own, self.seed, *drawn, "own")
        return draw([*given, *mine], shots, self.seed, *drawn, "order")

    def _take(self, taken: _Taken, generations: Sequence[RawGeneration], iteration: int) -> None:
        """Sift what the policy wrote in a round."""
        for generation in generations:
            taken.too_long += generation.end is GenerationEnd.PROMPT_TOO_LONG
            items = read_instructions(generation.text, generation.end is GenerationEnd.LENGTH)
            taken.without_list += not items and generation.end is not GenerationEnd.PROMPT_TOO_LONG
            for item in items:
                reason = item if isinstance(item, FilterReason) else taken.filter.take(item)
                if reason is None:
                    place = f"iteration {iteration}, round {generation.round}"
                    place += f", request {generation.request}"
                    taken.kept.append(Prompt.of(item, f"self-instruct, {place}"))
                else:
                    taken.dropped[reason] += 1
        # Only now: the examples of a round must not depend on how it was cut into calls.
        taken.written += [prompt.text for prompt in taken.kept[taken.shown :]]
        taken.shown = len(taken.kept)
        taken.requests += len(generations)
        taken.rounds += 1

    def _too_few(self, taken: _Taken, iteration: int) -> str:
        counts = {reason.value: count for reason, count in taken.dropped.most_common()}
        counts |= {"requests without a list": taken.without_list} if taken.without_list else {}
        counts |= {"requests too long": taken.too_long} if taken.too_long else {}
        dropped = ", ".join(f"{count} {reason}" for reason, count in counts.items()) or "none"
        return (
            f"iteration {iteration}: {len(taken.kept)} of {self.count} instructions were written "
            f"in {taken.requests} requests (dropped: {dropped}); add examples, raise "
            "prompts.self_instruct.temperature or max_similarity, lower prompts.per_iteration, or "
            f"raise prompts.self_instruct.max_tries={self.writing.max_tries:g} to resume from here"
        )


@dataclass
class _Taken:
    """How far an iteration is: a function of the generations so far alone."""

    filter: InstructionFilter
    given: Sequence[str]
    """Examples that were given."""
    written: list[str]
    """Instructions that the policy wrote in earlier iterations and rounds."""
    kept: list[Prompt] = field(default_factory=list)
    dropped: Counter[FilterReason] = field(default_factory=Counter)
    shown: int = 0
    """How many of ``kept`` are in ``written``."""
    rounds: int = 0
    requests: int = 0
    too_long: int = 0
    without_list: int = 0


def round_size(missing: int, asked: int, kept: int, requests: int) -> int:
    """Return how many requests to make next, from 1 to ``ROUND_REQUESTS``.

    Args:
        missing: Instructions that are still needed, at least 1.
        asked: Instructions that a request asks for.
        kept: Instructions that the requests so far brought.
        requests: How many they were; with none, everything is expected to be kept.
    """
    rate = max(kept / (requests * asked), WORST_YIELD) if requests else 1.0
    return max(1, min(math.ceil(missing / (asked * rate)), ROUND_REQUESTS))


def draw(texts: Sequence[str], count: int, seed: int, *place: object) -> list[str]:
    """Return ``count`` different members in an order that the seed and the place decide alone."""
    left = list(texts)
    return [left.pop(derive_seed(seed, *place, number) % len(left)) for number in range(count)]


def _round(generation: RawGeneration) -> int:
    return generation.round
