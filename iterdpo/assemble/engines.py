"""What runs the model."""

from __future__ import annotations

from iterdpo.assemble.checkpoint import resolve_checkpoint
from iterdpo.assemble.hardware import resolved
from iterdpo.config.choices import build
from iterdpo.config.schema import Config
from iterdpo.engines.base import Engine, EngineFactory
from iterdpo.engines.choice import EngineName
from iterdpo.engines.local import memory_estimate
from iterdpo.engines.memory import MemoryEstimate


def make_engine(config: Config) -> Engine:
    """Return the configured engine. No model is loaded yet.

    Raises:
        UserError: this machine cannot do what is asked.
    """
    import torch

    config = resolved(config)
    if config.engine.threads is not None:
        torch.set_num_threads(config.engine.threads)
    factory: EngineFactory = build(
        "engine",
        config.engine.choice,
        device=config.engine.device,
        model=config.model,
        training=config.training,
        seed=config.seed,
        checkpoint=lambda: resolve_checkpoint(config.model),
    )
    return factory.open()


def estimate_memory(config: Config, engine: EngineName) -> MemoryEstimate | None:
    """Return what ``engine`` and trainer need of the first GPU, or None for an unknown model."""
    checkpoint = resolve_checkpoint(config.model)
    sequences: int = config.engine.choice.settings["vllm"]["max_sequences"]
    return memory_estimate(config.model, config.training, checkpoint, engine, sequences)
