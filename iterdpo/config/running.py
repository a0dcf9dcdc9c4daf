"""Where results are kept and metrics go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from iterdpo.config.types import Place, checked


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
    """What the run is compared within; null for its sweep's directory."""
    tags: tuple[str, ...]
    """Words to find the run by, besides those for the model, the judge, the pairs and the loss."""
    samples: Annotated[int, Field(ge=0)]
    """Prompts whose answers are shown of each iteration. 0 sends no prompt and no answer."""
    artifacts: Literal["none", "reference", "upload"]
    """Adapters and pairs. ``reference``: their place on this machine, size and hash. ``upload``:
    the files as well. ``none``: neither."""


@checked
@dataclass(frozen=True, kw_only=True)
class StoreConfig:
    """Where finished stages are kept, for every run to share."""

    root: Place
