"""Who judges answers, and how judgments become pairs: what every choice of the two has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from iterdpo.config.choices import Choice
from iterdpo.config.types import NonNegative, Share, checked
from iterdpo.settings import Keyless


@checked
@dataclass(frozen=True, kw_only=True)
class JudgeConfig:
    """Who judges."""

    choice: Choice
    """A ``judging.Judge``."""
    min_scored: Annotated[Share, Keyless("stops a run, changes none")]
    """An iteration stops when a smaller share of its answers got a score."""


@checked
@dataclass(frozen=True, kw_only=True)
class PairsConfig:
    """How judged candidates become preference pairs, or where pairs come from that are there."""

    choice: Choice
    """A ``pairing.Strategy``, or ``pairing.offline.OfflineDataset``."""
    min_margin: NonNegative
    """Smallest score difference of a pair."""
    on_empty: Annotated[Literal["stop", "skip"], Keyless("stops a run, changes none")]
    """When an iteration yields no pair: stop, or keep the policy and continue."""
