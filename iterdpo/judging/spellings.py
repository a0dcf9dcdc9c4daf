"""Control tokens broken in texts whose reader's tokenizer is not known.

A server puts messages into a chat template and tokenizes the whole, and a tokenizer turns the
spelling of a control token into that token wherever it stands. Where the tokenizer is at hand,
``engines.chat`` breaks exactly its spellings; for an endpoint it is not, so every spelling that the
well-known families use is broken, as there by a zero-width space after its first character.
"""

from __future__ import annotations

import re
from typing import Final

_ZERO_WIDTH_SPACE: Final = "\u200b"
# In turn: <|im_end|> and DeepSeek's <｜User｜>; </s> and its kin; <user>; Gemma's turns and others;
# Llama 2's system block; Mistral's blocks and the encoders' separators.
_CONTROL: Final = re.compile(
    r"""
    < (?= [|｜] [^<>|｜\n]{1,64} [|｜] > )
    | < (?= /? (?:s|bos|eos|pad|unk|sep|cls|mask) > )
    | < (?= (?:user|assistant|system|human|bot) > )
    | < (?= (?:start|end) _? of _? (?:turn|text) > )
    | < (?= < /? SYS >> )
    | \[ (?= /? (?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|CLS|SEP|PAD) \] )
    """,
    re.VERBOSE | re.IGNORECASE,
)


def as_data(text: str) -> str:
    """Return ``text`` with every known spelling of a control token broken; else unchanged."""
    return _CONTROL.sub(lambda found: found[0] + _ZERO_WIDTH_SPACE, text)
