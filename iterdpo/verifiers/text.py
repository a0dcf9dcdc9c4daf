"""An answer compared with the prompt's reference as a text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from iterdpo.records import Prompt
from iterdpo.verifiers.base import Verifier


@dataclass(frozen=True, kw_only=True)
class ExactText(Verifier):
    """1 for an answer that is the reference, else 0. White space around it never counts."""

    name: ClassVar[str] = "exact"
    version: ClassVar[int] = 1

    part: Literal["whole", "first_line", "last_line"] = "whole"
    """What of the answer is compared; lines of white space are none."""
    ignore_case: bool = False
    ignore_spaces: bool = True
    """Whether a run of white space counts as one space."""

    def knows(self, prompt: Prompt) -> bool:
        return prompt.reference is not None

    def score(self, prompt: Prompt, response: str) -> float:
        lines = [line for line in response.splitlines() if line.strip()]
        if self.part != "whole":
            response = "".join(lines[:1] if self.part == "first_line" else lines[-1:])
        return float(self._plain(response) == self._plain(prompt.reference or ""))

    def _plain(self, text: str) -> str:
        text = " ".join(text.split()) if self.ignore_spaces else text.strip()
        return text.casefold() if self.ignore_case else text
