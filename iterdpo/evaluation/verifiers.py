"""What scores any answer to a prompt exactly. The loop never sees it: it only measures."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from numbers import Real
from typing import ClassVar

from iterdpo.data.values import excerpt
from iterdpo.errors import UserError
from iterdpo.records import Prompt


class Verifier(ABC):
    """Scores any answer exactly. A choice is a frozen dataclass of its settings.

    It gets the whole prompt, so it can compare with ``prompt.reference``, go through
    ``prompt.rubric`` or run the tests in ``prompt.metadata``.
    """

    name: ClassVar[str]
    """Of ours: what keys call it, whatever becomes of the class's own name."""
    version: ClassVar[int]
    """Of ours: raised when the same settings would score otherwise than before."""
    perfect: float = 1.0
    """The highest score there is, above 0: a constant, a setting or a property."""

    def knows(self, prompt: Prompt) -> bool:
        """Tell whether answers to ``prompt`` can be scored."""
        return True

    @abstractmethod
    def score(self, prompt: Prompt, response: str) -> float:
        """Return the score of ``response``, from 0 to ``perfect``."""


def require_known(verifier: Verifier, prompt: Prompt) -> None:
    """Raise ``UserError`` when ``verifier`` cannot score answers to a prompt."""
    if not verifier.knows(prompt):
        raise UserError(
            f"evaluation.oracle: {type(verifier).__name__} scores no answers to "
            f"{excerpt(prompt.text)} ({prompt.source}); choose prompts that it knows, or "
            "evaluation=judge"
        )


def score_answer(verifier: Verifier, prompt: Prompt, response: str) -> float:
    """Return what ``verifier`` says of an answer, having checked that it is a score.

    Raises:
        UserError: it does not know the prompt, or says something else.
    """
    require_known(verifier, prompt)
    kind = type(verifier).__name__
    score: object = verifier.score(prompt, response)
    value = float(score) if isinstance(score, Real) else math.nan
    if not 0 <= value <= verifier.perfect:
        raise UserError(
            f"evaluation.oracle: {kind} gives {excerpt(response)} a score of {score!r}; a score is "
            f"a number from 0 to its perfect={verifier.perfect:g}"
        )
    return value
