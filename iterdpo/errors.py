"""The errors that a user can cause or must hear about, each one line of text.

``UserError`` and its children end the program with exit status 2 and no traceback: the message
names the key, the value, what is allowed and what to do. ``LineageError`` ends it with status 3:
a run-time check failed, so nothing trained after this point could be trusted.
"""

from __future__ import annotations

from collections.abc import Sequence


class UserError(Exception):
    """Something the user can put right. The text is one line."""


class ConfigError(UserError):
    """Every problem found in a configuration, one line each."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class NoPairsError(UserError):
    """An iteration built no preference pair and ``pairs.on_empty`` is ``stop``."""


class LineageError(Exception):
    """A run-time check failed: the model that wrote, judged or trained is not the one named."""
