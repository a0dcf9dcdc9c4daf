"""Where a model's thoughts end and its answer begins, in the marks that model families use."""

from __future__ import annotations

import re
from typing import Final

_NAME: Final = r"(?:[a-z]{1,12}:)?(?:think(?:ing)?|thoughts?|reason(?:ing)?|reflect(?:ion)?|scratch_?pad|analysis)"  # fmt: skip  # noqa: E501
# In turn: <think> and [THINK], <|begin_of_thought|> and <|START_THINKING|>, Kimi's triangles, and
# the channels of Harmony and of Gemma.
_OPENING: Final = re.compile(
    rf"<\s{{0,4}}{_NAME}(?:\s[^<>]{{0,80}})?>|\[think\]|<\|(?:begin_of_|start_)?{_NAME}\|>|◁think▷|"
    r"<\|channel\|?>\s{0,4}(?:analysis|commentary|thought)",
    re.IGNORECASE,
)
_CLOSING: Final = re.compile(
    rf"<\s{{0,4}}/\s{{0,4}}{_NAME}\s{{0,4}}>|\[/think\]|<\|(?:/|end_of_|end_){_NAME}\|>|◁/think▷|"
    r"<\|channel\|>\s{0,4}final(?:\s{0,4}<\|message\|>)?|<channel\|>",
    re.IGNORECASE,
)


def after_thoughts(text: str) -> str:
    """Return what follows the last thought of ``text``: all of it where it holds none.

    It is empty where a thought was opened and never closed: nothing of such a text is an answer.
    """
    closed = 0
    for mark in _CLOSING.finditer(text):
        closed = mark.end()
    return "" if _OPENING.search(text, closed) else text[closed:]
