"""An engine as a user writes one: its own factory, on top of a script."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from iterdpo.config.model import ModelConfig
from iterdpo.engines import Engine, EngineFactory
from iterdpo.engines.scripted import ScriptedEngine
from iterdpo.settings import Provided


@dataclass(frozen=True)
class OwnEngine(EngineFactory):
    """Says the same of everything."""

    answer: str = "done"
    model: Provided[ModelConfig] = None  # type: ignore[assignment]
    version: ClassVar[int] = 1

    def open(self) -> Engine:
        return ScriptedEngine(lambda *_: f"{self.answer} {self.model.name}")
