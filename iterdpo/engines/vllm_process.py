"""vLLM itself: started, fed, put to sleep and shut down.

Nothing here knows the loop; ``vllm.py`` turns requests and answers into the engine's records.
"""

from __future__ import annotations

import gc
import os
import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from types import MappingProxyType
from typing import Any, Final, Literal

from iterdpo.engines.card_holders import card_holders
from iterdpo.engines.usage import Usage
from iterdpo.engines.vllm_death import death_named, require_not_taken_back, wake_at_death
from iterdpo.engines.vllm_worker import RUN, BoundToRun
from iterdpo.errors import UserError
from iterdpo.models.thinking import NO_THINKING, Thinking
from iterdpo.records import Policy
from iterdpo.runtime.signals import process_request

_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""The ranks that vLLM makes room for."""
_LOADED_ADAPTERS = 3
_CPU_BLOCK = 32
"""Tokens a cache block on CPU: with vLLM's own choice there, short prompts share nothing."""

_QUIET: Final = MappingProxyType({"VLLM_LOGGING_LEVEL": "ERROR", "VLLM_NO_USAGE_STATS": "1"})
_IN_THIS_PROCESS: Final = MappingProxyType(
    {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
)
"""On a CPU, with its threads left where they are: training runs here too. On a GPU a process of its
own gives the memory back for certain when it ends."""


@dataclass(frozen=True, slots=True)
class VllmSettings:
    """How vLLM holds the model."""

    device: str = "auto"
    dtype: str = "float32"
    context: int | None = None
    """Tokens of prompt and answer together; None for what the checkpoint declares."""
    trust_remote_code: bool = False
    serve: Literal["dequantized", "original"] = "dequantized"
    residency: Literal["resident", "sleep", "restart"] = "resident"
    shard_rows: int = 512
    lora_rank: int | None = 16
    """The largest rank of an adapter; None where policies are whole checkpoints, each of which
    vLLM is started with anew: nothing that it kept of another can answer."""
    max_sequences: int = 256
    tensor_parallel: int = 1
    memory_share: float = 0.9
    """Share of a GPU's memory."""
    cache_gib: float = 1.0
    """Key-value cache on CPU."""
    eager: bool | None = None
    thinking: Thinking = NO_THINKING


class VllmProcess:
    """One started vLLM with one base."""

    def __init__(self, weights: str, settings: VllmSettings) -> None:
        """Start it.

        Args:
            weights: directory of the checkpoint to serve.
            settings: how to hold it.

        Raises:
            UserError: it does not start, with its own words.
            Stopped: a signal came before it had started.
        """
        _set_where_unset(_QUIET)  # before any import of vLLM, which makes its logger
        self._cuda = _on_cuda(settings.device)
        self._requests, self._adapters = count(), count(1)
        self._loaded: dict[str, Any] = {}
        if not self._cuda:
            _set_where_unset(_IN_THIS_PROCESS)
        os.environ[RUN] = str(os.getpid())
        with _torch_kept(), process_request().at_once():
            self._llm = _started(self._arguments(weights, settings), self._cuda)
        self._engine = self._llm.llm_engine
        wake_at_death(self._engine.engine_core)
        self.context: int = self._engine.model_config.max_model_len

    def run(self, requests: Sequence[tuple[Sequence[int], Any]], policy: Policy) -> Generator[Any]:
        """Yield the final output of each request (token ids, sampling parameters), in order.

        All are handed over at once, so vLLM fills its batches as it likes. When the caller stops
        early, the requests that are left are taken back.

        Raises:
            EngineDiedError: vLLM's process has ended, or is about to.
        """
        from vllm.sampling_params import RequestOutputKind

        adapter = self._adapter(policy)
        waiting: dict[str, int] = {}
        done: dict[int, Any] = {}
        try:
            with death_named(self._engine.engine_core):
                for index, (token_ids, params) in enumerate(requests):
                    params.output_kind = RequestOutputKind.FINAL_ONLY
                    name = str(next(self._requests))
                    waiting[name] = index
                    prompt = {"prompt_token_ids": list(token_ids)}
                    self._engine.add_request(name, prompt, params, lora_request=adapter)
            for index in range(len(requests)):
                while index not in done:
                    with death_named(self._engine.engine_core):
                        outputs = self._engine.step()
                    for output in outputs:
                        done[waiting.pop(output.request_id)] = output
                require_not_taken_back(done[index])
                yield done.pop(index)
        finally:
            if waiting:
                self._engine.abort_request(list(waiting))

    def prefix_cache(self) -> Usage:
        """Return the prompt tokens since the start, and how many of them the cache held."""
        values = {metric.name: metric for metric in self._llm.get_metrics()}
        queries, hits = (values[f"vllm:prefix_cache_{name}"] for name in ("queries", "hits"))
        return Usage(queries.value, hits.value)

    def sleep(self) -> None:
        """Move the weights to the CPU's memory and drop the cache."""
        with death_named(self._engine.engine_core):
            self._llm.sleep(level=1)

    def wake(self) -> None:
        """Take the memory again. Adapters are loaded anew, under names never used before."""
        with death_named(self._engine.engine_core):
            if self._cuda and self._engine.is_sleeping():
                self._llm.wake_up()
                self._llm.reset_prefix_cache()
                self._loaded.clear()

    def shut_down(self) -> None:
        """End it and give its memory back."""
        from vllm.distributed import cleanup_dist_env_and_memory

        self._engine.engine_core.shutdown()
        del self._engine, self._llm
        gc.collect()
        cleanup_dist_env_and_memory()

    def _adapter(self, policy: Policy) -> Any:
        """Return vLLM's request for the policy's adapter, or None for the bare base."""
        if policy.adapter is None:
            return None
        if policy.fingerprint not in self._loaded:
            from vllm.lora.request import LoRARequest

            number = next(self._adapters)
            self._loaded[policy.fingerprint] = LoRARequest(
                f"{policy.fingerprint}-{number}", number, policy.adapter.path
            )
        return self._loaded[policy.fingerprint]

    def _arguments(self, weights: str, settings: VllmSettings) -> dict[str, Any]:
        arguments = {
            "model": weights,
            "dtype": settings.dtype,
            "max_model_len": settings.context,
            "trust_remote_code": settings.trust_remote_code,
            "skip_tokenizer_init": True,
            # Never Mistral's own files, which may lie beside: adapters go by transformers' names.
            "tokenizer_mode": "hf",
            "config_format": "hf",
            "load_format": "safetensors",
            "generation_config": "vllm",  # not the checkpoint's sampling defaults
            "enable_prefix_caching": True,
            **_adapter_arguments(settings.lora_rank),
            "max_num_seqs": settings.max_sequences,
            "max_logprobs": 20,
            "tensor_parallel_size": settings.tensor_parallel,
            "use_tqdm_on_load": False,
            "disable_log_stats": False,  # they hold the prefix cache's hits
            "worker_extension_cls": f"{BoundToRun.__module__}.{BoundToRun.__qualname__}",
            # Seconds in which a process that is told to end may finish what it was asked: it takes
            # requests back only where there are none. How long it has is for the run to say.
            "shutdown_timeout": 3600,
        }
        if self._cuda:
            return arguments | {
                "gpu_memory_utilization": settings.memory_share,
                "enable_sleep_mode": settings.residency == "sleep",
                "enforce_eager": bool(settings.eager),
            }
        return arguments | {
            "kv_cache_memory_bytes": int(settings.cache_gib * 2**30),
            "block_size": _CPU_BLOCK,
            # A prompt that is read in two parts winds its seeded generator back, which generators
            # on CPU cannot do.
            "enable_chunked_prefill": False,
            "enforce_eager": settings.eager is not False,
        }


def _set_where_unset(environment: Mapping[str, str]) -> None:
    """Set what vLLM reads from the environment, but for what the user has set there."""
    os.environ.update({k: v for k, v in environment.items() if k not in os.environ})


def _adapter_arguments(rank: int | None) -> dict[str, Any]:
    """Return what makes room for adapters of ``rank``, or for none."""
    if rank is None:
        return {}
    room = next((room for room in _RANKS if room >= rank), None)
    if room is None:
        raise UserError(
            f"model.adapter.rank={rank}: vLLM serves adapters up to rank {_RANKS[-1]}; lower it or "
            "use engine=transformers"
        )
    return {
        "enable_lora": True,
        "max_loras": 1,  # one policy a call
        "max_cpu_loras": _LOADED_ADAPTERS,
        "max_lora_rank": room,
    }


def _started(arguments: dict[str, Any], cuda: bool) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            from vllm import LLM

            return LLM(**arguments)
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:400]
        raise UserError(
            f"engine=vllm: vLLM does not start ({reason}); {_others_on_the_card() if cuda else ''}"
            "lower engine.vllm.memory_share, model.context or engine.vllm.max_sequences, or use "
            "engine=transformers"
        ) from error


def _others_on_the_card() -> str:
    """Return who else holds memory there, which vLLM does not know, and what to do about it."""
    holders = card_holders()
    if not holders:
        return ""
    pids = " ".join(str(holder.pid) for holder in holders)
    return f"the card is also held by {' and '.join(map(str, holders))}: end it (kill {pids}), or "


def _on_cuda(device: str) -> bool:
    from vllm.platforms import current_platform

    cuda = bool(current_platform.is_cuda())
    if device not in ("auto", "cuda" if cuda else "cpu"):
        built = "CUDA" if cuda else "CPU"
        raise UserError(
            f"engine.device={device}: the vLLM that is installed runs on {built}; choose a GPU by "
            "CUDA_VISIBLE_DEVICES, or use engine=transformers"
        )
    return cuda


@contextmanager
def _torch_kept() -> Iterator[None]:
    """Leave torch as it was: on CPU, vLLM replaces a function that training calls too."""
    import torch

    kept, threads = torch.set_num_threads, torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads = kept
        torch.set_num_threads(threads)
