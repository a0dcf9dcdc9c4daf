"""What scores any answer to a prompt exactly: by rules, not by a model.

One class serves as a judge (``judging.verifier``) and as the oracle of the evaluation, which
measures and which the loop never sees. No code from an answer is ever run.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

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


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong in a verifier, as one line; it crosses from its process to the run's."""

    said: str
    timed_out: bool = False
    """Whether the verifier stopped at a time limit of its own."""
