"""Prompts are chosen, and a policy answers them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from iterdpo.engines.base import Completion, Engine, PromptTooLong, Sampling
from iterdpo.engines.usage import Meter
from iterdpo.models.chat_messages import Request
from iterdpo.prompts.base import PromptSource
from iterdpo.records import Candidate, Policy, Prompt, Thought, record_id
from iterdpo.runtime.progress import progress
from iterdpo.settings import identity, key_settings
from iterdpo.stages import names
from iterdpo.stages.base import Metrics, RecordStage
from iterdpo.store.packed import packed_floats, packed_ids
from iterdpo.store.shards import compute_in_shards
from iterdpo.store.stage import Stored, Work


@dataclass(frozen=True)
class SelectPrompts(RecordStage[Prompt]):
    """The prompts of one purpose: an iteration's, the held-out ones, the judge reference set's."""

    source: PromptSource
    purpose: Literal["loop", "evaluation", "judge_reference"]
    count: int
    seed: int

    name = names.PROMPTS
    record = Prompt

    @property
    def settings(self) -> Mapping[str, object]:
        return {
            "source": identity(self.source),
            "purpose": self.purpose,
            "count": self.count,
            "seed": self.seed,
        }

    def compute(self, work: Work, iteration: int | None = None) -> Metrics:
        return {"prompts": len(self.keep(work, self._select(iteration)))}

    def _select(self, iteration: int | None) -> Sequence[Prompt]:
        if self.purpose == "evaluation":
            return self.source.evaluation(self.count, self.seed)
        if self.purpose == "judge_reference":
            return self.source.judge_reference(self.count, self.seed)
        assert iteration is not None
        return self.source.loop(iteration, self.count, self.seed)


@dataclass(frozen=True)
class Generate(RecordStage[Candidate]):
    """A policy's answers to prompts."""

    engine: Engine
    sampling: Sampling
    system: str | None
    label: str
    name: str = names.CANDIDATES

    record = Candidate
    version = 2

    @property
    def settings(self) -> Mapping[str, object]:
        return {
            "engine": dict(self.engine.identity),
            "sampling": key_settings(self.sampling),
            "system": self.system,
        }

    def compute(
        self, work: Work, prompts: Stored[tuple[Prompt, ...]], policy: Stored[Policy]
    ) -> Metrics:
        asked, n = prompts.value, self.sampling.n
        shards = work.shards(Candidate, len(asked), max(1, self.engine.shard_rows // n))
        read = shards.done()
        writing = compute_in_shards(
            shards,
            asked,
            lambda _, some: self._write(some, policy.value),
            streams=self.engine.streams,
            check=work.stop.check,
        )
        with Meter(self.engine) as meter:
            label = f"{policy.value.name} {self.label}"
            written = self.keep(work, progress(writing, len(asked) * n, label, "answers"))
        new = {prompt.id for prompt in asked[read:]}
        thoughts = [candidate.thought for candidate in written if candidate.thought is not None]
        return {
            "candidates": len(written),
            "truncated": sum(candidate.truncated for candidate in written),
            "prompts_too_long": len(asked) - len({candidate.prompt_id for candidate in written}),
            "generated_tokens": sum(len(candidate.token_ids) for candidate in written),
            "generated_tokens_new": sum(
                len(candidate.token_ids) for candidate in written if candidate.prompt_id in new
            ),
            "engine": meter.metrics,
            **({"thoughts": thought_metrics(thoughts)} if thoughts else {}),
        }

    def _write(self, prompts: Sequence[Prompt], policy: Policy) -> Iterator[list[Candidate]]:
        """Yield the answers to one prompt after the other."""
        requests = [Request.to(prompt, self.system) for prompt in prompts]
        answers = self.engine.generate(requests, policy, self.sampling)
        for request, group in groupby(answers, key=lambda answer: answer.request):
            yield [
                candidate_of(answer, prompts[request], policy)
                for answer in group
                if not isinstance(answer, PromptTooLong)
            ]


def thought_metrics(thoughts: Sequence[Thought]) -> Metrics:
    """Return how many answers were thought about, in how many tokens, and what never ended."""
    return {
        "number": len(thoughts),
        "unfinished": sum(not thought.closed for thought in thoughts),
        "tokens": sum(thought.tokens for thought in thoughts),
    }


def candidate_of(completion: Completion, prompt: Prompt, policy: Policy) -> Candidate:
    """Name a completion by its prompt, policy, sample number and text, a thought included."""
    parents = (prompt.id, policy.fingerprint)
    thought = completion.thought.text if completion.thought else ""
    return Candidate(
        id=record_id("candidate", parents, completion.sample, thought + completion.text),
        prompt_id=prompt.id,
        index=completion.sample,
        text=completion.text,
        prompt_token_ids=packed_ids(completion.prompt_token_ids),
        token_ids=packed_ids(completion.token_ids),
        logprobs=packed_floats(completion.logprobs),
        finish_reason=completion.finish_reason,
        policy=policy.fingerprint,
        seed=completion.seed,
        thought=completion.thought,
    )
