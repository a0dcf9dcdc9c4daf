"""Which checkpoint the configuration names, and how it is quantized."""

from __future__ import annotations

from pathlib import Path

from iterdpo.config.model import ModelConfig
from iterdpo.models.checkpoint import find_checkpoint

_PACKAGE = Path(__file__).parent.parent


def resolve_checkpoint(config: ModelConfig) -> Path:
    """Return the directory of the checkpoint that ``model.path`` names.

    Raises:
        UserError: it is neither a local checkpoint nor one that the hub can give.
    """
    if config.path == "lab":
        return _PACKAGE / "lab" / "seed"
    return find_checkpoint(config.path, config.revision, "model.path")
