"""What PairRM reads: a prompt and two answers in one row of token ids.

The layout is that of the card of ``llm-blender/PairRM-hf``, three segments one after the other:

    [CLS] <|source|> prompt [SEP]
    [CLS] <|candidate1|> answer [SEP]
    [CLS] <|candidate2|> answer [SEP]

The prompt is cut at its right end to ``source_tokens``, markers included; each answer to half of
what the prompt leaves of ``source_tokens + 2 * candidate_tokens``. Markers and other control tokens
that a text spells are left out of its segment, as LLM-Blender does with the separator: whatever a
candidate says, it cannot open another segment.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from iterdpo.errors import UserError
from iterdpo.models.loadable import loading

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENIZER_FILE: Final = "tokenizer.json"
SOURCE: Final = "<|source|>"
CANDIDATES: Final = ("<|candidate1|>", "<|candidate2|>")
_MARKERS: Final = 9
"""Three in each segment."""


class PairLayout:
    """Puts a prompt and two answers into the ranker's one row of token ids.

    The tokenizer is the file's own, not one that a library builds anew from its vocabulary: these
    normalize some characters differently.
    """

    @classmethod
    def load(cls, checkpoint: Path, source_tokens: int, candidate_tokens: int) -> PairLayout:
        """Return the layout with a checkpoint's own tokenizer.

        Raises:
            UserError: there is none, or it lacks one of the markers.
        """
        from tokenizers import Tokenizer

        file = checkpoint / TOKENIZER_FILE
        if not file.is_file():
            raise UserError(f"judge.path={checkpoint}: no {TOKENIZER_FILE} there")
        with loading(f"judge.path={checkpoint}"):
            tokenizer = Tokenizer.from_file(str(file))
        # Files may carry the truncation and padding of whoever saved them.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return cls(tokenizer, source_tokens, candidate_tokens)

    def __init__(self, tokenizer: Tokenizer, source_tokens: int, candidate_tokens: int) -> None:
        """
        Raises:
            UserError: the tokenizer lacks one of the markers.
        """
        self.tokenizer = tokenizer
        self.source_tokens, self.candidate_tokens = source_tokens, candidate_tokens
        names = (SOURCE, *CANDIDATES, "[CLS]", "[SEP]")
        ids = {name: token for name in names if (token := tokenizer.token_to_id(name)) is not None}
        if missing := [name for name in names if name not in ids]:
            raise UserError(
                f"judge.path: its {TOKENIZER_FILE} has no {', '.join(missing)}; give a "
                "checkpoint in the layout of llm-blender/PairRM-hf"
            )
        self.highest = max(tokenizer.get_vocab().values())
        self.open, self.close = ids["[CLS]"], ids["[SEP]"]
        self.source = ids[SOURCE]
        self.candidates = (ids[CANDIDATES[0]], ids[CANDIDATES[1]])
        # An unknown character is text; every other token that the file adds is control.
        unknown = tokenizer.token_to_id("[UNK]")
        self._control = {*tokenizer.get_added_tokens_decoder(), *ids.values()} - {unknown}

    def body(self, text: str) -> tuple[int, ...]:
        """Return the ids of a text as it stands after a marker, without control tokens."""
        ids = self._encode(SOURCE + text)
        if ids[0] != self.source:
            # A text can begin with a character that combines with the marker's last one.
            ids = self._encode(f"{SOURCE} {text}")
        return tuple(token for token in ids if token not in self._control)

    def row(
        self, source: Sequence[int], first: Sequence[int], second: Sequence[int]
    ) -> tuple[list[int], bool]:
        """Return a row of at most source + 2 · candidate tokens, and whether anything was cut.

        Args:
            source: the prompt's body.
            first: the body of the answer shown first.
            second: the body of the other one.
        """
        prompt = self._segment(self.source, source, self.source_tokens)
        room = (self.source_tokens + 2 * self.candidate_tokens - len(prompt)) // 2
        row = [
            *prompt,
            *self._segment(self.candidates[0], first, room),
            *self._segment(self.candidates[1], second, room),
        ]
        return row, len(row) < len(source) + len(first) + len(second) + _MARKERS

    def _segment(self, marker: int, body: Sequence[int], longest: int) -> list[int]:
        return [self.open, marker, *body[: longest - 3], self.close]

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return ids
