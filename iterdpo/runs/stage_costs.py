"""What the stages of a run took."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from iterdpo.store.peak_memory import highest
from iterdpo.store.stage import Stored


@dataclass(frozen=True)
class RoundCosts:
    """What the stages of one round took, by stage."""

    seconds: Mapping[str, float]
    peak_memory: Mapping[str, Mapping[str, int | None]]
    """Bytes of ``ram`` and ``gpu``."""


class StageCosts:
    """Counts what stages take. One read from the store counts what it took when it was computed."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._peaks: dict[str, dict[str, int | None]] = {}
        self.all: dict[str, float] = {}
        """The seconds of every stage so far, each once, by ``<stage>/<key>``."""

    def add(self, stored: Stored[Any]) -> None:
        """Count a stage."""
        took = stored.manifest["seconds"]
        assert isinstance(took, int | float)
        name = stored.stage.name
        self.all[f"{name}/{stored.key}"] = took
        self._seconds[name] = round(self._seconds.get(name, 0.0) + took, 3)
        peaks: Any = stored.manifest.get("peak_memory") or {}
        self._peaks[name] = highest(self._peaks.get(name, {}), peaks)

    def next_round(self) -> RoundCosts:
        """Return what stages took since the last call."""
        costs = RoundCosts(self._seconds, self._peaks)
        self._seconds, self._peaks = {}, {}
        return costs
