"""What a conversation asks of a model, and the one that streams from transformers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Protocol

from iterdpo.engines.base import Sampling
from iterdpo.engines.sampling import generation_config
from iterdpo.engines.transformers import TransformersEngine
from iterdpo.models.chat_messages import Request
from iterdpo.models.loading import context_of
from iterdpo.records import Policy
from iterdpo.store.hashing import derive_seed


class ContextFullError(Exception):
    """The conversation leaves no room for an answer."""

    def __init__(self, tokens: int, limit: int) -> None:
        self.tokens, self.limit = tokens, limit
        super().__init__(f"the conversation has {tokens:,} tokens and the model holds {limit:,}")


class Talker(Protocol):
    """Answers a conversation bit by bit."""

    def reply(self, request: Request, policy: Policy, sampling: Sampling) -> Iterator[str]:
        """Yield the answer's text as it is written; closing the iterator stops the writing.

        At most ``sampling.max_tokens`` are written, fewer where the context ends first.

        Raises:
            ContextFullError: not one token more fits.
        """

    def close(self) -> None:
        """Release everything."""


class StreamingEngine(TransformersEngine):
    """Implements ``Talker`` on a run's engine: the same weights, the same verified adapters."""

    def reply(self, request: Request, policy: Policy, sampling: Sampling) -> Iterator[str]:
        with self._applied(policy) as (model, chat):
            prompt, limit = chat.encode(request), context_of(model.config, self.settings.context)
            room = limit - len(prompt)
            if room < 1:
                raise ContextFullError(len(prompt), limit)
            sampling = replace(
                sampling,
                max_tokens=min(sampling.max_tokens, room),
                seed=derive_seed(sampling.seed, list(prompt)),
            )
            with _Writing(self, model, chat.tokenizer, prompt, sampling) as pieces:
                yield from pieces

    def generation(self, model: Any, sampling: Sampling) -> Any:
        """Return ``sampling`` as transformers wants it told."""
        return generation_config(sampling, self._special_ids(model))


class _Writing:
    """One answer, written by a thread of its own; leaving the block stops it."""

    def __init__(
        self,
        engine: StreamingEngine,
        model: Any,
        tokenizer: Any,
        prompt: tuple[int, ...],
        sampling: Sampling,
    ) -> None:
        from transformers import TextIteratorStreamer

        self._streamer = TextIteratorStreamer(
            tokenizer, skip_prompt=True, skip_special_tokens=True,
            clean_up_tokenization_spaces=False,
        )  # fmt: skip
        self._stopped = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(
            target=self._write, args=(engine, model, prompt, sampling), daemon=True
        )

    def __enter__(self) -> Iterator[str]:
        self._thread.start()
        return self._pieces()

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _pieces(self) -> Iterator[str]:
        yield from (piece for piece in self._streamer if piece)
        if self._error is not None:
            raise self._error

    def _write(
        self,
        engine: StreamingEngine,
        model: Any,
        prompt: tuple[int, ...],
        sampling: Sampling,
    ) -> None:
        import torch

        try:
            ids = torch.tensor([prompt], device=engine.device)
            devices = [engine.device] if engine.device.type == "cuda" else []
            with torch.no_grad(), torch.random.fork_rng(devices=devices):
                torch.manual_seed(sampling.seed)
                model.generate(
                    input_ids=ids,
                    attention_mask=torch.ones_like(ids),
                    generation_config=engine.generation(model, sampling),
                    streamer=self._streamer,
                    stopping_criteria=[self._stop],
                )
        except BaseException as error:  # told by whoever reads, in its own thread
            self._error = error
        finally:
            self._streamer.end()

    def _stop(self, input_ids: Any, scores: Any, **_: object) -> Any:
        import torch

        return torch.full((input_ids.shape[0],), self._stopped.is_set(), device=input_ids.device)
