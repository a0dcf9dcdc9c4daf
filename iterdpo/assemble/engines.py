"""What runs the model, and the memory that it needs beside the trainer."""

from __future__ import annotations

import logging

from iterdpo.assemble.checkpoint import quantization_name, resolve_checkpoint
from iterdpo.assemble.hardware import resolved
from iterdpo.config.schema import Config
from iterdpo.engines.base import Engine
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
from iterdpo.models.hardware import vllm_installed
from iterdpo.models.loading import declared_context
from iterdpo.models.prequantized import PREQUANTIZED, Packing, serving_problem

log = logging.getLogger(__name__)

WORTHWHILE_SEQUENCES = 32
"""Answers side by side that an engine beside the trainer should at least have memory for."""


def make_engine(config: Config) -> Engine:
    """Return the configured engine and say which it is and why. No model is loaded yet."""
    import torch

    config = resolved(config)
    if config.engine.threads is not None:
        torch.set_num_threads(config.engine.threads)
    engine, model = config.engine, config.model
    cuda = engine.device != "cpu" and torch.cuda.is_available()
    choice = choose_engine(engine.name, vllm=vllm_installed(), cuda=cuda, dtype=model.dtype)
    if choice.name == "vllm" and model.quantization in PREQUANTIZED:
        packing = Packing.at(resolve_checkpoint(model))
        if problem := serving_problem(choice.name, model.dtype, packing):
            raise UserError(problem)
    estimate = estimate_memory(config, choice.name) if cuda else None
    residency = engine.residency
    if residency == "auto":
        residency = choose_residency(estimate) if cuda else "resident"
    if (choice.name, residency, cuda) == ("vllm", "sleep", False):
        raise UserError("engine.residency=sleep: vLLM sleeps on CUDA only; use resident or restart")
    log.info("engine: %s (%s), %s while training", choice.name, choice.why, residency)
    if estimate is not None:
        log.info("memory: %s", estimate.describe())
    if choice.name == "transformers":
        return TransformersEngine(
            TransformersSettings(
                device=engine.device,
                dtype=model.dtype,
                batch_size=engine.batch_size,
                part_rows=engine.part_rows,
                attention=model.attention,
                context=model.context,
                trust_remote_code=model.trust_remote_code,
                serve=engine.serve,
                residency=residency,
            )
        )
    return VllmEngine(
        VllmSettings(
            device=engine.device,
            dtype=model.dtype,
            context=model.context,
            trust_remote_code=model.trust_remote_code,
            serve=engine.serve,
            residency=residency,
            part_rows=engine.part_rows,
            lora_rank=model.adapter.rank if model.adapter else None,
            max_sequences=engine.max_sequences,
            tensor_parallel=engine.tensor_parallel,
            memory_share=engine.memory_share
            or (engine_share(estimate) if residency == "resident" else ALONE_SHARE),
            cache_gib=engine.cache_gib,
            eager=engine.eager,
        )
    )


def estimate_memory(config: Config, engine: EngineName) -> MemoryEstimate | None:
    """Return what ``engine`` and trainer need of the first GPU, or None for an unknown model."""
    import torch

    model, training = config.model, config.training
    checkpoint = resolve_checkpoint(model)
    shape, declared = ModelShape.at(checkpoint), declared_context(str(checkpoint))
    if shape is None or declared is None:
        return None
    size = 4 if model.dtype == "float32" else 2
    context = min(declared, model.context or declared)
    length = min(context, training.max_length or context)
    # What does not fit into the cache waits, so a full batch is no condition for staying.
    sequences = min(config.engine.max_sequences, WORTHWHILE_SEQUENCES)
    return MemoryEstimate(
        card=torch.cuda.get_device_properties(0).total_memory,
        engine=engine_bytes(
            shape,
            size,
            context,
            sequences,
            model.quantization
            if engine == "vllm" and model.quantization in PREQUANTIZED
            else "none",
        ),
        trainer=trainer_bytes(
            shape,
            quantization_name(model),
            size,
            model.adapter.rank if model.adapter else None,
            training.micro_batch_size,
            length,
            training.gradient_checkpointing,
            eager_attention=model.attention == "eager",
        ),
    )
