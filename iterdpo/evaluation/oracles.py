"""The verifiers that come with the package."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from iterdpo.records import Prompt
from iterdpo.verifiers.base import Verifier

LAB = "iterdpo.evaluation.oracles.LabOracle"
"""How a configuration names the lab's oracle."""


@dataclass(frozen=True, slots=True)
class OracleScore:
    """An answer's exact score."""

    candidate_id: str
    prompt_id: str
    score: float


@dataclass(frozen=True)
class LabOracle(Verifier):
    """The lab's oracle: 0 to 5 points."""

    name: ClassVar[str] = "lab"
    version: ClassVar[int] = 1
    perfect = 5.0

    def knows(self, prompt: Prompt) -> bool:
        from iterdpo.lab.grammar import parse

        try:
            parse(prompt.text)
        except ValueError:
            return False
        return True

    def score(self, prompt: Prompt, response: str) -> float:
        from iterdpo.lab import oracle

        return oracle.score(prompt.text, response)
