"""The errors that a user can cause or must hear about, each one line of text.

``UserError`` and its children end the program with exit status 2 and no traceback: the message
names the key, the value, what is allowed and what to do. ``LineageError`` ends it with status 3:
a run-time check failed, so nothing trained after this point could be trusted.
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from pathlib import Path


class UserError(Exception):
    """Something the user can put right. The text is one line."""


class ConfigError(UserError):
    """Every problem found in a configuration, one line each."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class NoPairsError(UserError):
    """An iteration built no preference pair and ``pairs.on_empty`` is ``stop``."""


class EngineDiedError(UserError):
    """What answers for a model ended, or was ended, while it was needed."""


class LineageError(Exception):
    """A run-time check failed: the model that wrote, judged or trained is not the one named."""


def described(error: BaseException, file: str | None = None) -> str:
    """Return an exception of a user's own code in one line, with the place that raised it.

    Args:
        error: the exception, as it was caught.
        file: where the user's code stands: the last place in it is told, rather than one in a
            library that it called.
    """
    text = " ".join(f"{type(error).__name__}: {error}".split())
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename == file]
    if isinstance(error, SyntaxError) or not frames:
        return text  # which names the place itself
    place = (own or frames)[-1]
    return f"{text}, {Path(place.filename).name} line {place.lineno}"
