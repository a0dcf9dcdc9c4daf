"""vLLM or transformers on this machine: which one, and where it stays during a training."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from iterdpo.config.model import ModelConfig
from iterdpo.config.training import TrainingConfig
from iterdpo.config.types import Count, Positive, checked
from iterdpo.engines.base import Engine, EngineFactory
from iterdpo.engines.choice import EngineName, choose_engine
from iterdpo.engines.memory import (
    ALONE_SHARE,
    MemoryEstimate,
    ModelShape,
    choose_residency,
    engine_bytes,
    engine_share,
    trainer_bytes,
)
from iterdpo.engines.transformers import TransformersEngine, TransformersSettings
from iterdpo.engines.vllm import VllmEngine
from iterdpo.engines.vllm_process import VllmSettings
from iterdpo.errors import UserError
from iterdpo.models.hardware import GET_VLLM, vllm_installed
from iterdpo.models.loading import declared_context
from iterdpo.models.prequantized import PREQUANTIZED, Packing, serving_problem
from iterdpo.settings import Keyless, Provided

log = logging.getLogger(__name__)

WORTHWHILE_SEQUENCES = 32
"""Answers side by side that an engine beside the trainer should at least have memory for."""


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

    max_sequences: Annotated[Count, Keyless("speed: rows are independent")]
    """Most answers written side by side."""
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
    shut down and start again. ``auto``: stay when a memory estimate says that both fit."""
    shard_rows: Count
    """Answers or judgments that are written down together: what a kill costs at most."""
    transformers: TransformersOptions
    vllm: VllmOptions
    device: Provided[str]
    model: Provided[ModelConfig]
    training: Provided[TrainingConfig]
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
        estimate = None
        if cuda:
            sequences = self.vllm.max_sequences
            estimate = memory_estimate(
                model, self.training, self.checkpoint(), choice.name, sequences
            )
        residency = self.residency
        if residency == "auto":
            residency = choose_residency(estimate) if cuda else "resident"
        if (choice.name, residency, cuda) == ("vllm", "sleep", False):
            raise UserError(
                "engine.residency=sleep: vLLM sleeps on CUDA only; use resident or restart"
            )
        log.info("engine: %s (%s), %s while training", choice.name, choice.why, residency)
        if estimate is not None:
            log.info("memory: %s", estimate.describe())
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
                )
            )
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
                max_sequences=self.vllm.max_sequences,
                tensor_parallel=self.vllm.tensor_parallel,
                memory_share=self.vllm.memory_share
                or (engine_share(estimate) if residency == "resident" else ALONE_SHARE),
                cache_gib=self.vllm.cache_gib,
                eager=self.vllm.eager,
            )
        )


def memory_estimate(
    model: ModelConfig,
    training: TrainingConfig,
    checkpoint: Path,
    engine: EngineName,
    sequences: int,
) -> MemoryEstimate | None:
    """Return what an engine and the trainer need of the first GPU, or None for an unknown model.

    Args:
        model: the model's settings, with its type chosen.
        training: of DPO.
        checkpoint: the model's directory.
        engine: which engine.
        sequences: most answers that it writes side by side.
    """
    import torch

    shape, declared = ModelShape.at(checkpoint), declared_context(str(checkpoint))
    if shape is None or declared is None:
        return None
    size = 4 if model.dtype == "float32" else 2
    context = min(declared, model.context or declared)
    length = min(context, training.max_length or context)
    packed = engine == "vllm" and model.quantization in PREQUANTIZED
    return MemoryEstimate(
        card=torch.cuda.get_device_properties(0).total_memory,
        # What does not fit into the cache waits, so a full batch is no condition for staying.
        engine=engine_bytes(
            shape,
            size,
            context,
            min(sequences, WORTHWHILE_SEQUENCES),
            model.quantization if packed else "none",
        ),
        trainer=trainer_bytes(
            shape,
            model.scheme,
            size,
            model.adapter.rank if model.adapter else None,
            training.micro_batch_size,
            length,
            training.gradient_checkpointing,
            eager_attention=model.attention == "eager",
        ),
    )
