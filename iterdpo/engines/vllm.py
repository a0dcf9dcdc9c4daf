"""The engine for GPUs: vLLM, one for the whole run, each adapter loaded beside the others.

vLLM answers wrongly, without an error, where two adapters share a name, an id or a path, and where
base and adapter requests meet in one batch. So every adapter has a name, an id and a path of its
own that are never used again, and a call holds one policy.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

from iterdpo.engines.base import (
    ChoiceLogprobs,
    Completion,
    PromptTooLong,
    Sampling,
    TokenSequence,
)
from iterdpo.engines.usage import Usage
from iterdpo.engines.vllm_process import VllmProcess, VllmSettings
from iterdpo.models.chat_messages import Request
from iterdpo.models.chat_template import Chat, stop_token_ids
from iterdpo.records import Base, FinishReason, Policy
from iterdpo.store.hashing import derive_seed

_FINISH = {"stop": FinishReason.STOP, "length": FinishReason.LENGTH}


class VllmEngine:
    """Implements ``Engine`` with vLLM; starts it when first asked for a model."""

    def __init__(self, settings: VllmSettings) -> None:
        self.settings = settings
        self.starts = 0
        """How often vLLM was started."""
        self.usage = Usage()
        self.shard_rows = settings.shard_rows
        self.streams = True
        self._base: Base | None = None
        self._process: VllmProcess | None = None
        self._chat: Chat | None = None
        self._stop: tuple[int, ...] = ()

    @property
    def identity(self) -> Mapping[str, object]:
        # What changes only speed, memory or place stays out; batches form as requests come, so no
        # setting here promises equal bits anyway.
        return {
            "engine": "vllm",
            "dtype": self.settings.dtype,
            "context": self.settings.context,
            "serve": self.settings.serve,
            **self.settings.thinking.identity,
        }

    def generate(
        self, requests: Sequence[Request], policy: Policy, sampling: Sampling
    ) -> Iterator[Completion | PromptTooLong]:
        process, chat = self._serve(policy.base)
        prompts = [chat.encode(request) for request in requests]
        limit = process.context - sampling.max_tokens
        # From the prompt alone, whatever else is asked. vLLM gives the n samples of a prompt the
        # seeds s, s + 1, ..., so those of two prompts lie at least n apart.
        seeds = [
            derive_seed(sampling.seed, prompt) // sampling.n * sampling.n for prompt in prompts
        ]
        asked = {
            index: (prompt, self._sampling(sampling, seeds[index]))
            for index, prompt in enumerate(prompts)
            if len(prompt) <= limit
        }
        with closing(self._answers(process, asked, policy)) as answers:
            for index, prompt in enumerate(prompts):
                if index not in asked:
                    yield PromptTooLong(index, len(prompt), limit)
                    continue
                yield from self._completions(index, prompt, seeds[index], next(answers), chat)

    def _completions(
        self, index: int, prompt: tuple[int, ...], seed: int, answer: Any, chat: Chat
    ) -> Iterator[Completion]:
        for nth, output in enumerate(answer.outputs):
            text, thought = chat.read(output.token_ids)
            yield Completion(
                request=index,
                sample=nth,
                text=text,
                prompt_token_ids=prompt,
                token_ids=tuple(output.token_ids),
                logprobs=tuple(
                    step[token].logprob
                    for token, step in zip(output.token_ids, output.logprobs, strict=True)
                ),
                finish_reason=_finish_reason(output.finish_reason),
                seed=seed + nth,
                thought=thought,
            )

    def choice_logprobs(
        self, requests: Sequence[Request], choices: Sequence[str], policy: Policy
    ) -> Iterator[ChoiceLogprobs | PromptTooLong]:
        process, chat = self._serve(policy.base)
        choice_ids = [chat.single_token(choice) for choice in choices]
        prompts = [chat.encode(request, at_once=True) for request in requests]
        limit = process.context - 1
        params = self._reading(choice_ids)
        asked = {i: (prompt, params) for i, prompt in enumerate(prompts) if len(prompt) <= limit}
        with closing(self._answers(process, asked, policy)) as answers:
            for index, prompt in enumerate(prompts):
                if index not in asked:
                    yield PromptTooLong(index, len(prompt), limit)
                    continue
                (step,) = next(answers).outputs[0].logprobs
                yield ChoiceLogprobs(index, tuple(step[token].logprob for token in choice_ids))

    def sequence_logprobs(
        self, sequences: Sequence[TokenSequence], policy: Policy
    ) -> list[tuple[float, ...]]:
        process, _ = self._serve(policy.base)
        if self.settings.lora_rank is None:
            return self._from_prompts(process, sequences, policy)
        return self._token_by_token(process, sequences, policy)

    def _from_prompts(
        self, process: VllmProcess, sequences: Sequence[TokenSequence], policy: Policy
    ) -> list[tuple[float, ...]]:
        """Read each text but its last token as a prompt, and the last one as what comes next."""
        asked = {}
        for index, item in enumerate(sequences):
            *read, last = *item.prompt_token_ids, *item.token_ids
            asked[index] = (read, self._reading([last], prompt=True))
        values = []
        with closing(self._answers(process, asked, policy)) as answers:
            for item, answer in zip(sequences, answers, strict=True):
                steps = [*answer.prompt_logprobs, *answer.outputs[0].logprobs]
                tokens = zip(item.token_ids, steps[len(item.prompt_token_ids) :], strict=True)
                values.append(tuple(step[token].logprob for token, step in tokens))
        return values

    def _token_by_token(
        self, process: VllmProcess, sequences: Sequence[TokenSequence], policy: Policy
    ) -> list[tuple[float, ...]]:
        """Ask for every token by itself, its prefix from the cache.

        vLLM's log-probs of a prompt fail where adapters can be loaded.
        """
        steps = [
            (number, (*item.prompt_token_ids, *item.token_ids[:position]), token)
            for number, item in enumerate(sequences)
            for position, token in enumerate(item.token_ids)
        ]
        asked = {i: (prefix, self._reading([token])) for i, (_, prefix, token) in enumerate(steps)}
        values: list[list[float]] = [[] for _ in sequences]
        with closing(self._answers(process, asked, policy)) as answers:
            for (number, _, token), answer in zip(steps, answers, strict=True):
                values[number].append(answer.outputs[0].logprobs[0][token].logprob)
        return [tuple(tokens) for tokens in values]

    def sleep(self) -> bool:
        if self._process is None or self.settings.residency == "resident":
            return False
        if self.settings.residency == "sleep":
            self._process.sleep()
        else:
            self.close()
        return True

    def wake(self) -> None:
        if self._process is not None:
            self._process.wake()

    def close(self) -> None:
        process, self._process = self._process, None
        self._base = self._chat = None
        if process is not None:
            process.shut_down()

    def _serve(self, base: Base) -> tuple[VllmProcess, Chat]:
        """Return vLLM with ``base``, started if it is not there yet, and its way to chat."""
        if self._process is None or self._base != base:
            from iterdpo.models.loading import declared_stop_tokens, load_tokenizer

            self.close()
            tokenizer = load_tokenizer(base.path, self.settings.trust_remote_code)
            weights = base.dequantized if self.settings.serve == "dequantized" else base.path
            self.starts += 1
            self._process = VllmProcess(weights, self.settings)
            self._stop = stop_token_ids(declared_stop_tokens(base.path), tokenizer)
            self._chat = Chat(tokenizer, self.settings.thinking)
            self._base = base
        assert self._chat is not None
        return self._process, self._chat

    def _answers(
        self,
        process: VllmProcess,
        asked: Mapping[int, tuple[Sequence[int], Any]],
        policy: Policy,
    ) -> Generator[Any]:
        """Yield vLLM's output of each request, in the order asked, and count the tokens."""
        before = process.prefix_cache()
        try:
            with closing(process.run(list(asked.values()), policy)) as outputs:
                for output in outputs:
                    written = sum(len(one.token_ids) for one in output.outputs)
                    self.usage += Usage(generated_tokens=written)
                    yield output
        finally:
            self.usage += process.prefix_cache() - before

    def _sampling(self, sampling: Sampling, seed: int) -> Any:
        from vllm import SamplingParams

        greedy = sampling.temperature == 0
        return SamplingParams(
            n=sampling.n,
            temperature=sampling.temperature,
            top_p=1.0 if greedy else sampling.top_p,
            top_k=0 if greedy else sampling.top_k,
            max_tokens=sampling.max_tokens,
            seed=None if greedy else seed,
            logprobs=0,  # of the sampled token alone, at temperature 1
            stop_token_ids=list(self._stop),
            detokenize=False,
        )

    def _reading(self, token_ids: Sequence[int], *, prompt: bool = False) -> Any:
        """Read the log-probs of some tokens as the next one: one prefill, nothing written.

        With ``prompt``, those of the prompt's own tokens as well; then nothing is from the cache.
        """
        from vllm import SamplingParams

        return SamplingParams(
            temperature=0.0,
            max_tokens=1,
            logprob_token_ids=list(token_ids),
            prompt_logprobs=0 if prompt else None,
            detokenize=False,
        )


def _finish_reason(reason: str | None) -> FinishReason:
    if reason not in _FINISH:
        raise RuntimeError(f"vLLM ended an answer for the reason {reason!r}")
    return _FINISH[reason]
