"""What runs the model."""

from __future__ import annotations

from iterdpo.assemble.checkpoint import resolve_checkpoint
from iterdpo.assemble.hardware import resolved
from iterdpo.config.choices import build
from iterdpo.config.schema import Config
from iterdpo.engines.base import Engine, EngineFactory


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
        sft=config.sft,
        seed=config.seed,
        checkpoint=lambda: resolve_checkpoint(config.model),
    )
    return factory.open()
