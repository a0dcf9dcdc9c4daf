"""What a server is asked to write about."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from iterdpo.errors import UserError
from iterdpo.prompts.file import read_file

PLAIN: Final = (
    "Explain to a child why the sky is blue.",
    "Write a short letter to a neighbor who plays loud music at night.",
    "What should I look at before I buy a used bicycle?",
    "Describe a market in the morning.",
    "How does a refrigerator keep things cold?",
    "Give me five ideas for a rainy Sunday without a screen.",
    "Tell a story about a lighthouse keeper who finds a message.",
    "What is the difference between weather and climate?",
    "Write a function that reverses the words of a sentence, and explain it.",
    "My bread does not rise. What may be wrong?",
    "Compare traveling by train with traveling by plane.",
    "How can a beginner learn to draw?",
    "Summarize how a law is made.",
    "Write a toast for a friend's wedding.",
    "Why do cats purr?",
    "Plan a simple dinner for four people, one of whom eats no meat.",
)
"""Each leads to a text of some length in any model that talks, and to another one each time."""


def prompts_of(given: Path | str | Sequence[str] | None, field: str) -> list[str]:
    """Return the prompts of a file, those given, or ours.

    Raises:
        UserError: the file cannot be read, or there is none.
    """
    if given is None:
        return list(PLAIN)
    if isinstance(given, Path | str):
        return list(dict.fromkeys(prompt.text for prompt in read_file(str(given), field)))
    if not given:
        raise UserError("prompts: name at least one, or None for ours")
    return list(given)
