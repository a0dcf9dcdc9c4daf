"""vLLM or transformers on this machine: which one, and where it stays during a training."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from iterdpo.config.model import ModelConfig
from iterdpo.config.sft import SftConfig
from iterdpo.config.training import TrainingConfig
from iterdpo.config.types import Count, Positive, checked
from iterdpo.engines.base import Engine, EngineFactory
from iterdpo.engines.choice import EngineName, choose_engine
from iterdpo.engines.memory import (
    MOST_SEQUENCES,
    MemoryEstimate,
    Residency,
    choose_residency,
    engine_share,
    sequences_in,
)
from iterdpo.engines.placement import WORTHWHILE_SEQUENCES, Sizes, card_bytes
from iterdpo.engines.transformers import TransformersEngine, TransformersSettings
from iterdpo.engines.vllm import VllmEngine
from iterdpo.engines.vllm_process import VllmSettings
from iterdpo.errors import UserError
from iterdpo.models.hardware import GET_VLLM, vllm_installed
from iterdpo.models.memory import GIB
from iterdpo.models.prequantized import PREQUANTIZED, Packing, serving_problem
from iterdpo.models.thinking import template_of, thinking_of
from iterdpo.settings import Keyless, Provided

log = logging.getLogger(__name__)


@checked
@dataclass(frozen=True, kw_only=True)
class TransformersOptions:
    """Of transformers alone."""

    batch_size: Count
    """Answers written side by side, never across two shards."""


@checked
@dataclass(frozen=True, kw_only=True)
class VllmOptions:
    """Of vLLM alone."""

    max_sequences: Annotated[Count | Literal["auto"], Keyless("speed: rows are independent")]
    """Most answers written side by side. ``auto``: what the key-value cache holds by the estimate,
    256 at the most."""
    tensor_parallel: Annotated[Count, Keyless("place")]
    """GPUs that one model is split over."""
    memory_share: Annotated[Annotated[float, Field(gt=0, lt=1)] | None, Keyless("memory")]
    """Share of a GPU's memory that it may take; null for what training leaves."""
    cache_gib: Annotated[Positive, Keyless("memory")]
    """On a CPU: memory of the key-value cache, in GiB."""
    eager: Annotated[bool | None, Keyless("speed")]
    """Run without compiling; null compiles on a GPU only."""


@dataclass(frozen=True, kw_only=True)
class LocalEngine(EngineFactory):
    """The engine that suits this machine, or the one that is asked for."""

    backend: Literal["auto", "vllm", "transformers"]
    """``auto``: vLLM where it is installed and a CUDA device is there, else transformers."""
    serve: Literal["dequantized", "original"]
    """``dequantized``: the very weights that training sees; of gptq and awq, the checkpoint itself.
    ``original``: those before quantization, which differ from them."""
    residency: Annotated[
        Literal["auto", "resident", "sleep", "restart"],
        Keyless("where the engine waits while training"),
    ]
    """On one GPU, while training: stay beside the trainer, sleep (weights in the CPU's memory), or
    shut down and start again. ``auto``: stay when a memory estimate says that both fit, else sleep
    when the weights fit the CPU's memory."""
    shard_rows: Count
    """Answers or judgments that are written down together: what a kill costs at most."""
    transformers: TransformersOptions
    vllm: VllmOptions
    device: Provided[str]
    model: Provided[ModelConfig]
    training: Provided[TrainingConfig]
    sft: Provided[SftConfig]
    checkpoint: Provided[Callable[[], Path]]

    name: ClassVar[str] = "local"
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.backend == "vllm" and not vllm_installed():
            raise ValueError(f"backend=vllm: vLLM is not installed; it comes with {GET_VLLM}")
        if self.backend == "transformers" and self.vllm.tensor_parallel > 1:
            raise ValueError(
                f"vllm.tensor_parallel={self.vllm.tensor_parallel}: engine=transformers uses 1; "
                "use engine=vllm"
            )

    def open(self) -> Engine:
        """Return the engine and say which it is and why. No model is loaded yet.

        Raises:
            UserError: this machine cannot do what is asked.
        """
        import torch

        model = self.model
        cuda = self.device != "cpu" and torch.cuda.is_available()
        choice = choose_engine(self.backend, vllm=vllm_installed(), cuda=cuda, dtype=model.dtype)
        if choice.name == "vllm" and model.quantization in PREQUANTIZED:
            packing = Packing.at(self.checkpoint())
            if problem := serving_problem(choice.name, model.dtype, packing):
                raise UserError(problem)
        thinking = thinking_of(
            model.thinking,
            model.thought_marks,
            model.template_arguments,
            template_of(self.checkpoint()),
        )
        residency = self.residency
        if (choice.name, residency, cuda) == ("vllm", "sleep", False):
            raise UserError(
                "engine.residency=sleep: vLLM sleeps on CUDA only; use resident or restart"
            )
        counted = cuda or choice.name == "vllm"
        sizes = Sizes.of(model, self.checkpoint()) if counted else None
        estimate = self._estimate(sizes, choice.name) if cuda and sizes is not None else None
        if residency == "auto":
            residency = self._residency(estimate) if cuda else "resident"
        log.info("engine: %s (%s), %s while training", choice.name, choice.why, residency)
        if estimate is not None:
            log.info("memory: %s", estimate.describe(residency))
        if choice.name == "transformers":
            return TransformersEngine(
                TransformersSettings(
                    device=self.device,
                    dtype=model.dtype,
                    batch_size=self.transformers.batch_size,
                    shard_rows=self.shard_rows,
                    attention=model.attention,
                    context=model.context,
                    trust_remote_code=model.trust_remote_code,
                    serve=self.serve,
                    residency=residency,
                    thinking=thinking,
                )
            )
        share = self.vllm.memory_share or engine_share(estimate, residency)
        return VllmEngine(
            VllmSettings(
                device=self.device,
                dtype=model.dtype,
                context=model.context,
                trust_remote_code=model.trust_remote_code,
                serve=self.serve,
                residency=residency,
                shard_rows=self.shard_rows,
                lora_rank=model.adapter.rank if model.adapter else None,
                max_sequences=self._sequences(sizes, share if cuda else None),
                tensor_parallel=self.vllm.tensor_parallel,
                memory_share=share,
                cache_gib=self.vllm.cache_gib,
                eager=self.vllm.eager,
                thinking=thinking,
            )
        )

    def _estimate(self, sizes: Sizes, engine: EngineName) -> MemoryEstimate:
        trainings = [self.training, *([self.sft] if self.sft.method != "none" else [])]
        asked, share = self.vllm.max_sequences, self.vllm.memory_share
        return sizes.estimate(
            trainings,
            engine,
            WORTHWHILE_SEQUENCES if asked == "auto" else asked,
            share if engine == "vllm" else None,
        )

    def _residency(self, estimate: MemoryEstimate | None) -> Residency:
        chosen = choose_residency(estimate)
        # Where each policy is a checkpoint, one that slept would be started anew for the next.
        return "restart" if chosen == "sleep" and self.model.adapter is None else chosen

    def _sequences(self, sizes: Sizes | None, share: float | None) -> int:
        """Return the most answers side by side in vLLM, with its share of a GPU or on the CPU."""
        if self.vllm.max_sequences != "auto":
            return self.vllm.max_sequences
        if sizes is None:
            return MOST_SEQUENCES
        if share is None:
            cache, length = int(self.vllm.cache_gib * GIB), sizes.length(self.training)
            return sequences_in(cache, sizes.shape, sizes.dtype_bytes, length)
        return sizes.sequences(int(share * card_bytes()), self.vllm.tensor_parallel, self.training)
