"""The sections of a configuration whose class can be chosen."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True)
class Place:
    """A section of the configuration whose class can be chosen."""

    kind: str
    """The class that a choice must derive from."""
    base: str
    """The one that a user's own should derive from, as it is imported."""
    inside: bool = False
    """Whether it is a setting of another choice, whose class checks it."""


PLACES: Final = MappingProxyType(
    {
        "engine": Place("iterdpo.engines.base.EngineFactory", "iterdpo.engines.EngineFactory"),
        "judge": Place("iterdpo.judging.base.Judge", "iterdpo.judging.PromptJudge"),
        "prompts": Place("iterdpo.prompts.base.PromptSource", "iterdpo.prompts.PromptPool"),
        "pairs": Place("iterdpo.pairing.base.PairSource", "iterdpo.pairing.Strategy"),
        "judge.verifier": Place(
            "iterdpo.verifiers.base.Verifier", "iterdpo.verifiers.Verifier", inside=True
        ),
        "evaluation.oracle": Place(
            "iterdpo.verifiers.base.Verifier", "iterdpo.evaluation.Verifier"
        ),
        "tracking": Place("iterdpo.tracking.base.Tracker", "iterdpo.tracking.Tracker"),
    }
)
