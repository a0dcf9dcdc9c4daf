"""Where results are kept and metrics go."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from iterdpo.config.types import checked


@checked
@dataclass(frozen=True, kw_only=True)
class TrackingConfig:
    """Where metrics go besides the run directory."""

    name: Literal["wandb", "none"]
    project: str
    entity: str | None
    mode: Literal["auto", "online", "offline", "disabled"]
    """``auto``: online when logged in, else offline."""
    group: str | None
    tags: tuple[str, ...]


@checked
@dataclass(frozen=True, kw_only=True)
class StoreConfig:
    """Where finished stages are kept, for every run to share."""

    root: Path
