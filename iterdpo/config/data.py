"""How the rows of a dataset are found and read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from iterdpo.config.types import Count, checked

Scalar = str | int | float | bool | None


@checked
@dataclass(frozen=True, kw_only=True)
class DatasetConfig:
    """Which rows of a dataset count, and where in a row the prompt is."""

    subset: str | None
    """The dataset's configuration, where it has several."""
    split: str
    revision: str | None
    """Branch, tag or commit on the hub; null for the default branch. A commit stays the same."""
    files: tuple[str, ...]
    """Files of the repository to read instead of a split, for repositories with a loading script
    (none is ever run)."""
    form: Literal["text", "turns", "transcript"]
    """``text``: ``prompts.field`` is the prompt. ``turns``: it holds a list of turns, whose first
    by the user is the prompt. ``transcript``: the same as a text with ``Human:`` and
    ``Assistant:``."""
    join: tuple[str, ...]
    """Further fields, set under the prompt after a blank line where they are not empty."""
    where: dict[str, Scalar | tuple[Scalar, ...]]
    """For each of some fields the value, or the list of values, that a row must have."""
    max_chars: Count | None
    """Longer prompts are left out."""
