"""Prompts are chosen, and a policy answers them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from iterdpo.engines.base import Completion, Engine, PromptTooLong, Request, Sampling
from iterdpo.engines.usage import Meter
from iterdpo.progress import progress
from iterdpo.prompts.base import PromptSource
from iterdpo.records import Candidate, Policy, Prompt, record_id
from iterdpo.steps.base import Metrics, RecordStep
from iterdpo.store.hashing import derive_seed
from iterdpo.store.stages import Stored


@dataclass(frozen=True)
class SelectPrompts(RecordStep[Prompt]):
    """The prompts of one purpose: an iteration's, the held-out ones, the judge's labelled ones."""

    source: PromptSource
    purpose: Literal["loop", "evaluation", "labelled"]
    count: int
    seed: int

    name = "prompts"
    record = Prompt

    @property
    def settings(self) -> Mapping[str, object]:
        return {
            "source": dict(self.source.identity),
            "purpose": self.purpose,
            "count": self.count,
            "seed": self.seed,
        }

    def compute(self, work: Path, iteration: int | None = None) -> Metrics:
        return {"prompts": len(self.keep(work, self._select(iteration)))}

    def _select(self, iteration: int | None) -> Sequence[Prompt]:
        if self.purpose == "evaluation":
            return self.source.evaluation(self.count, self.seed)
        if self.purpose == "labelled":
            return self.source.labelled(self.count, self.seed)
        assert iteration is not None
        return self.source.loop(iteration, self.count, self.seed)


@dataclass(frozen=True)
class Generate(RecordStep[Candidate]):
    """A policy's answers to prompts."""

    engine: Engine
    sampling: Sampling
    system: str | None
    label: str
    name: str = "candidates"

    record = Candidate

    @property
    def settings(self) -> Mapping[str, object]:
        return {
            "engine": dict(self.engine.identity),
            "sampling": asdict(self.sampling),
            "system": self.system,
        }

    def compute(
        self, work: Path, prompts: Stored[tuple[Prompt, ...]], policy: Stored[Policy]
    ) -> Metrics:
        too_long: list[PromptTooLong] = []
        with Meter(self.engine) as meter:
            written = self.keep(work, self._write(prompts.value, policy.value, too_long))
        return {
            "candidates": len(written),
            "truncated": sum(candidate.truncated for candidate in written),
            "prompts_too_long": len(too_long),
            "generated_tokens": sum(len(candidate.token_ids) for candidate in written),
            "engine": meter.metrics,
        }

    def _write(
        self, prompts: Sequence[Prompt], policy: Policy, too_long: list[PromptTooLong]
    ) -> Iterator[Candidate]:
        requests = [Request.of(prompt.text, self.system) for prompt in prompts]
        sampling = self._seeded(prompts)
        answers = self.engine.generate(requests, policy, sampling)
        total = len(prompts) * sampling.n
        for answer in progress(answers, total, f"{policy.name} {self.label}", "answers"):
            if isinstance(answer, PromptTooLong):
                too_long.append(answer)
            else:
                yield candidate_of(answer, prompts[answer.request], policy)

    def _seeded(self, prompts: Sequence[Prompt]) -> Sampling:
        # Seeded by the prompts, not the iteration: every model answers the held-out prompts with
        # the same random numbers, which takes noise out of their comparison.
        seed = derive_seed(self.sampling.seed, [prompt.id for prompt in prompts])
        return Sampling(**asdict(self.sampling) | {"seed": seed})


def candidate_of(completion: Completion, prompt: Prompt, policy: Policy) -> Candidate:
    """Name a completion by its prompt, policy, sample number and text."""
    parents = (prompt.id, policy.fingerprint)
    return Candidate(
        id=record_id("candidate", parents, completion.sample, completion.text),
        prompt_id=prompt.id,
        index=completion.sample,
        text=completion.text,
        prompt_token_ids=completion.prompt_token_ids,
        token_ids=completion.token_ids,
        logprobs=completion.logprobs,
        finish_reason=completion.finish_reason,
        policy=policy.fingerprint,
        seed=completion.seed,
    )
