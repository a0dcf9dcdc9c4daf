"""An answer that ends in the letter of a choice, compared with the prompt's reference."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from iterdpo.records import Prompt
from iterdpo.verifiers.base import Verifier
from iterdpo.verifiers.reading import after_announcement, boxed


@dataclass(frozen=True, kw_only=True)
class MultipleChoice(Verifier):
    r"""1 for an answer that chooses the reference's letter, else 0.

    The chosen letter is, of these, the first that there is: the one in the last ``\boxed{}``, the
    first behind the last ``answer:`` or ``answer is``, the one that the text begins with as ``B)``,
    ``B.`` or alone, and the last one that stands alone. A letter that begins a sentence as a word,
    as in ``A dog``, is none.
    """

    name: ClassVar[str] = "multiple_choice"
    version: ClassVar[int] = 1

    letters: str = "ABCDE"
    """Those of the choices, in capitals."""

    def __post_init__(self) -> None:
        if not self.letters.isalpha() or self.letters != self.letters.upper():
            raise ValueError(f"letters={self.letters}: name capital letters, as ABCD")

    def knows(self, prompt: Prompt) -> bool:
        return prompt.reference is not None and self.chosen(prompt.reference) is not None

    def score(self, prompt: Prompt, response: str) -> float:
        said = self.chosen(response)
        return float(said is not None and said == self.chosen(prompt.reference or ""))

    def chosen(self, text: str) -> str | None:
        """Return the letter that a text chooses; None without one."""
        if (box := boxed(text)) is not None:
            return next(self._letters(box), None)
        behind = next(self._letters(after_announcement(text) or ""), None)
        begins = re.match(rf"\s*[(\[*]*([{self.letters}])(?:[*)\].:,]|\s*$)", text)
        if behind or begins:
            return behind or (begins[1] if begins else None)
        alone = list(self._letters(text))
        return alone[-1] if alone else None

    def _letters(self, text: str) -> Iterator[str]:
        # Not A of "A dog", nor I of "I am": a word goes on in small letters.
        alone = rf"(?<![\w'’])([{self.letters}])(?![\w'’]|\s+[a-z])"
        return (found[1] for found in re.finditer(alone, text))
