"""Exact scores, in worlds that have them. The loop never sees an oracle: it only measures."""

from __future__ import annotations

from typing import Protocol


class Oracle(Protocol):
    """Scores any answer exactly."""

    name: str
    perfect: float
    """The highest score there is."""

    def score(self, prompt: str, response: str) -> float:
        """Return the score of ``response``, from 0 to ``perfect``."""


class LabOracle:
    """The lab's oracle: 0 to 5 points."""

    name = "lab"
    perfect = 5.0

    def score(self, prompt: str, response: str) -> float:
        from iterdpo.lab import oracle

        return float(oracle.score(prompt, response))
