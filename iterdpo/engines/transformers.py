"""The engine that runs anywhere: batched sampling with transformers, adapters through PEFT.

It serves the image of the quantized base (the very weights that training sees, dequantized), so
that writer, judge and trainer are one function. Every adapter is loaded under its fingerprint and
compared with its file before it is used: PEFT leaves out keys that do not match without an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from iterdpo.engines.base import (
    ChoiceLogprobs,
    Completion,
    PromptTooLong,
    Sampling,
    TokenSequence,
)
from iterdpo.engines.sampling import SpecialIds, sample
from iterdpo.engines.usage import Usage
from iterdpo.errors import LineageError
from iterdpo.models.chat_messages import Request
from iterdpo.models.chat_template import Chat, stop_token_ids
from iterdpo.models.loading import context_of, free_memory
from iterdpo.models.out_of_memory import in_portions, memory_errors_named
from iterdpo.models.padding import chunks, left_padded
from iterdpo.models.thinking import NO_THINKING, Thinking
from iterdpo.models.token_logprobs import answer_logprobs
from iterdpo.records import Base, Policy
from iterdpo.store.hashing import derive_seed

if TYPE_CHECKING:
    import torch

_LOADED_ADAPTERS = 3


@dataclass(frozen=True, slots=True)
class TransformersSettings:
    """How the engine holds the model."""

    device: str = "auto"
    dtype: str = "float32"
    batch_size: int = 64
    shard_rows: int = 512
    """Rows that a caller keeps together; batches never cross them."""
    attention: str | None = None
    context: int | None = None
    trust_remote_code: bool = False
    serve: Literal["dequantized", "original"] = "dequantized"
    """The weights that training sees, or those of the checkpoint."""
    residency: Literal["resident", "sleep", "restart"] = "resident"
    """While training: stay, move to the CPU's memory, or be dropped and loaded again."""
    thinking: Thinking = NO_THINKING


class TransformersEngine:
    """Implements ``Engine`` with transformers and PEFT; loads a model when first asked for one."""

    def __init__(self, settings: TransformersSettings) -> None:
        self.settings = settings
        self._base: Base | None = None
        self._model: Any = None
        self._chat: Chat | None = None
        self._adapters: list[str] = []
        self.usage = Usage()
        self.starts = 0
        """How often a model was loaded."""

    @property
    def identity(self) -> Mapping[str, object]:
        # The batch size is here because it changes the bits: rows of one batch share a seed.
        return {
            "engine": "transformers",
            "device": self.device.type,
            "dtype": self.settings.dtype,
            "batch_size": self.settings.batch_size,
            "shard_rows": self.settings.shard_rows,
            "attention": self.settings.attention,
            "context": self.settings.context,
            "serve": self.settings.serve,
            **self.settings.thinking.identity,
        }

    @property
    def shard_rows(self) -> int:
        return self.settings.shard_rows

    @property
    def streams(self) -> bool:
        return False  # rows of a batch share a seed and are padded to one width

    @property
    def device(self) -> torch.device:
        import torch

        name = self.settings.device
        if name == "auto":
            name = "cuda" if torch.cuda.is_available() else "cpu"
        return torch.device(name)

    def generate(
        self, requests: Sequence[Request], policy: Policy, sampling: Sampling
    ) -> Iterator[Completion | PromptTooLong]:
        with self._applied(policy) as (model, chat):
            limit = context_of(model.config, self.settings.context) - sampling.max_tokens
            prompts = [chat.encode(request) for request in requests]
            rows = [
                (index, nth)
                for index, prompt in enumerate(prompts)
                for nth in range(sampling.n if len(prompt) <= limit else 1)
            ]
            for batch in chunks(rows, self.settings.batch_size):
                fitting = [row for row in batch if len(prompts[row[0]]) <= limit]
                # From what is asked, not from its place in the call: a shard of a stage draws
                # the same numbers whatever went before, and every model draws the same for the
                # same prompts, which takes noise out of their comparison.
                seed = derive_seed(sampling.seed, [(prompts[i], nth) for i, nth in fitting])
                with _memory_errors_named():  # parts of a batch would draw other answers
                    written = sample(
                        model,
                        [prompts[i] for i, _ in fitting],
                        sampling,
                        seed,
                        self._special_ids(model),
                    )
                by_row = dict(zip(fitting, written, strict=True))
                self.usage += Usage(
                    prompt_tokens=sum(len(prompts[index]) for index, _ in fitting),
                    generated_tokens=sum(len(one.token_ids) for one in written),
                )
                for index, nth in batch:
                    prompt = prompts[index]
                    if (index, nth) not in by_row:
                        yield PromptTooLong(index, len(prompt), limit)
                        continue
                    one = by_row[index, nth]
                    text, thought = chat.read(one.token_ids)
                    yield Completion(
                        request=index,
                        sample=nth,
                        text=text,
                        prompt_token_ids=prompt,
                        token_ids=one.token_ids,
                        logprobs=one.logprobs,
                        finish_reason=one.finish_reason,
                        seed=seed,
                        thought=thought,
                    )

    def choice_logprobs(
        self, requests: Sequence[Request], choices: Sequence[str], policy: Policy
    ) -> Iterator[ChoiceLogprobs | PromptTooLong]:
        with self._applied(policy) as (model, chat):
            limit = context_of(model.config, self.settings.context) - 1
            choice_ids = [chat.single_token(choice) for choice in choices]
            prompts = [chat.encode(request, at_once=True) for request in requests]
            for batch in chunks(range(len(prompts)), self.settings.batch_size):
                fitting = [row for row in batch if len(prompts[row]) <= limit]
                with _memory_errors_named():
                    chosen = in_portions(
                        [prompts[row] for row in fitting],
                        len(batch),
                        partial(self._next_token_logprobs, model, choice_ids),
                    )
                by_row = dict(zip(fitting, chosen, strict=True))
                self.usage += Usage(sum(len(prompts[row]) for row in fitting))
                for row in batch:
                    if row in by_row:
                        yield ChoiceLogprobs(row, tuple(by_row[row]))
                    else:
                        yield PromptTooLong(row, len(prompts[row]), limit)

    def sequence_logprobs(
        self, sequences: Sequence[TokenSequence], policy: Policy
    ) -> list[tuple[float, ...]]:
        texts = [(item.prompt_token_ids, item.token_ids) for item in sequences]
        self.usage += Usage(sum(len(prompt) + len(answer) for prompt, answer in texts))
        with self._applied(policy) as (model, _), _memory_errors_named():
            return in_portions(texts, self.settings.batch_size, partial(answer_logprobs, model))

    def sleep(self) -> bool:
        if self._model is None or self.settings.residency == "resident":
            return False
        if self.settings.residency == "restart":
            self.close()
        elif self.device.type != "cpu":
            self._model.to("cpu")
            free_memory()
        return True

    def wake(self) -> None:
        if self._model is not None:
            self._model.to(self.device)

    def close(self) -> None:
        self._model = self._chat = self._base = None
        self._adapters.clear()
        free_memory()

    def _next_token_logprobs(
        self, model: Any, choice_ids: Sequence[int], prompts: Sequence[Sequence[int]]
    ) -> list[list[float]]:
        """Return of each prompt the log-probabilities of some tokens as the next one."""
        import torch

        ids, mask = left_padded(prompts, 0, self.device)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        with torch.no_grad():
            output = model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=positions,
                logits_to_keep=1,
                use_cache=False,
            )
        logprobs = output.logits[:, -1].float().log_softmax(-1)
        chosen: list[list[float]] = logprobs[:, list(choice_ids)].tolist()
        return chosen

    @contextmanager
    def _applied(self, policy: Policy) -> Iterator[tuple[Any, Chat]]:
        """Yield the model with exactly the policy's adapter in effect, or with none."""
        self._load_base(policy.base)
        if policy.adapter is None:
            from peft import PeftModel

            assert self._chat is not None
            if isinstance(self._model, PeftModel):
                with self._model.disable_adapter():
                    yield self._model, self._chat
            else:
                yield self._model, self._chat
            return
        self._load_adapter(policy)
        self._model.set_adapter(policy.fingerprint)
        self._model.eval()
        assert self._chat is not None
        yield self._model, self._chat

    def _load_base(self, base: Base) -> None:
        if self._base == base:
            return
        from iterdpo.models.loading import load_served_model, load_tokenizer

        self.close()
        self.starts += 1
        self._model = load_served_model(
            base.dequantized if self.settings.serve == "dequantized" else base.path,
            dtype=self.settings.dtype,
            device=self.device,
            attention=self.settings.attention,
            trust_remote_code=self.settings.trust_remote_code,
        )
        tokenizer = load_tokenizer(base.path, self.settings.trust_remote_code)
        self._chat = Chat(tokenizer, self.settings.thinking)
        self._base = base

    def _load_adapter(self, policy: Policy) -> None:
        from peft import PeftModel

        from iterdpo.models.loading import differing_adapter_keys

        name, adapter = policy.fingerprint, policy.adapter
        assert adapter is not None
        if name in self._adapters:
            return
        if isinstance(self._model, PeftModel):
            self._model.load_adapter(adapter.path, adapter_name=name)
        else:
            self._model = PeftModel.from_pretrained(self._model, adapter.path, adapter_name=name)
        self._model.eval()
        if differing := differing_adapter_keys(self._model, name, adapter.path):
            raise LineageError(
                f"the adapter of {policy.name} did not load: {len(differing)} tensors differ from "
                f"{adapter.path}, first {differing[0]}"
            )
        self._adapters.append(name)
        if len(self._adapters) > _LOADED_ADAPTERS:
            self._model.delete_adapter(self._adapters.pop(0))

    def _special_ids(self, model: Any) -> SpecialIds:
        assert self._chat is not None
        eos_ids = stop_token_ids(model.generation_config.eos_token_id, self._chat.tokenizer)
        pad_id = self._chat.tokenizer.pad_token_id
        # Padding is masked: which token it is makes no difference, but the model must have it.
        known = pad_id is not None and pad_id < model.get_input_embeddings().num_embeddings
        return SpecialIds(eos_ids, pad_id if known else eos_ids[0])


def _memory_errors_named() -> AbstractContextManager[None]:
    return memory_errors_named(
        "engine=transformers",
        "lower engine.transformers.batch_size (answers are written anew), candidates.max_tokens or "
        "model.context, or use engine=vllm",
    )
