"""Exact scores, in worlds that have them. The loop never sees an oracle: it only measures."""

from __future__ import annotations

from typing import Protocol

from iterdpo.errors import UserError


class Oracle(Protocol):
    """Scores any answer exactly."""

    name: str
    perfect: float
    """The highest score there is."""

    def knows(self, prompt: str) -> bool:
        """Tell whether answers to ``prompt`` can be scored."""

    def score(self, prompt: str, response: str) -> float:
        """Return the score of ``response``, from 0 to ``perfect``.

        Raises:
            UserError: the oracle does not know the prompt.
        """


class LabOracle:
    """The lab's oracle: 0 to 5 points."""

    name = "lab"
    perfect = 5.0

    def knows(self, prompt: str) -> bool:
        from iterdpo.lab.grammar import parse

        try:
            parse(prompt)
        except ValueError:
            return False
        return True

    def score(self, prompt: str, response: str) -> float:
        from iterdpo.lab import oracle

        try:
            return float(oracle.score(prompt, response))
        except ValueError as error:
            raise UserError(
                f"evaluation.oracle=lab: scores answers to the lab's instructions alone ({error}); "
                "with other prompts choose evaluation=judge"
            ) from None
