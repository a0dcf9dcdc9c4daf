"""Where results are kept and metrics go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from iterdpo.config.choices import Choice
from iterdpo.config.types import Place, checked


@checked
@dataclass(frozen=True, kw_only=True)
class TrackingConfig:
    """Where metrics go besides the run directory."""

    choice: Choice
    """A ``tracking.Tracker``."""
    group: str | None
    """What the run is compared within; null for its sweep's directory."""
    tags: tuple[str, ...]
    """Words to find the run by, besides those for the model, the judge, the pairs and the loss."""
    samples: Annotated[int, Field(ge=0)]
    """Prompts whose answers are shown of each iteration. 0 sends no prompt and no answer."""


@checked
@dataclass(frozen=True, kw_only=True)
class StoreConfig:
    """Where finished stages are kept, for every run to share."""

    root: Place
