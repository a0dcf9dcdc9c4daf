"""An answer looked through by a regular expression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from iterdpo.config.types import Positive
from iterdpo.records import Prompt
from iterdpo.verifiers.base import Verifier

if TYPE_CHECKING:
    import regex


@dataclass(frozen=True, kw_only=True)
class Regex(Verifier):
    """1 for an answer in which a regular expression is found, else 0.

    Expressions are those of the package ``regex``, Python's own and more: its matcher can be given
    a time limit, and stops at it.
    """

    name: ClassVar[str] = "regex"
    version: ClassVar[int] = 1

    pattern: str | None = None
    """null: each prompt's reference is one."""
    whole: bool = False
    """Whether it must match the answer from end to end, white space around it apart."""
    ignore_case: bool = False
    absent: bool = False
    """Whether an answer is right where it is *not* found."""
    seconds: Positive = 1.0
    """The longest that one answer may take; a longer one raises ``TimeoutError``."""

    def __post_init__(self) -> None:
        if self.pattern is not None and (wrong := self._wrong(self.pattern)):
            raise ValueError(f"pattern={self.pattern}: is no regular expression: {wrong}")

    def knows(self, prompt: Prompt) -> bool:
        if self.pattern is not None:
            return True
        return prompt.reference is not None and not self._wrong(prompt.reference)

    def score(self, prompt: Prompt, response: str) -> float:
        pattern = self._compiled(self.pattern if self.pattern is not None else prompt.reference)
        if self.whole:
            found = pattern.fullmatch(response.strip(), timeout=self.seconds)
        else:
            found = pattern.search(response, timeout=self.seconds)
        return float((found is None) == self.absent)

    def _compiled(self, pattern: str | None) -> regex.Pattern[str]:
        import regex

        return regex.compile(pattern or "", regex.IGNORECASE if self.ignore_case else 0)

    def _wrong(self, pattern: str) -> str:
        import regex

        try:
            self._compiled(pattern)
        except regex.error as error:
            return " ".join(str(error).split())
        return ""
