"""A file of the user's own prompts."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path

from iterdpo.data.converting import convert, require_fields
from iterdpo.data.rows import Row, UnreadableFileError, file_bytes, read_rows, suffix_of
from iterdpo.data.values import RowError, excerpt, field_of, text_of
from iterdpo.errors import UserError
from iterdpo.prompts.text_pool import TextPool, require_share

log = logging.getLogger(__name__)


class FilePrompts(TextPool):
    """Prompts from a JSONL, JSON (a list of objects), CSV, Parquet or text file (one a line).

    A prompt reaches the model exactly as it stands in the file: white space around it and
    characters inside it are kept. Blank lines are skipped. Equal texts are kept once.
    """

    def __init__(self, path: Path, field: str = "prompt", held_out_share: float = 0.1) -> None:
        """Read the file.

        Args:
            path: The suffix names the format.
            field: The JSON field or the column that holds the prompt; unused for text.
            held_out_share: Share of the texts that the loop never sees, in (0, 1); one half is
                for evaluation, the other for the judge reference set.

        Raises:
            UserError: when the file cannot be read, or any row holds no prompt. All broken rows
                are counted and the first few are named.
        """
        require_share(held_out_share)
        self.path, self.field = path, field
        key = f"prompts.path={path}"
        raw = file_bytes(path, key)
        self.sha256 = hashlib.sha256(raw).hexdigest()
        sources: dict[str, str] = {}
        self.duplicates = 0
        """Rows left out because an earlier one has the same text."""
        for where, text in _texts(path, raw, field):
            self.duplicates += text in sources
            sources.setdefault(text, f"{path.name}, {where}")
        if not sources:
            raise UserError(f"{key}: holds no prompt: add some")
        if self.duplicates:
            log.warning(
                "%s: %d rows repeat the text of another and count once", key, self.duplicates
            )
        super().__init__(sources, path.name, held_out_share)

    @property
    def identity(self) -> Mapping[str, object]:
        """The content's hash, and what else decides which prompts are returned and how named."""
        return {
            "source": "file",
            "name": self.path.name,
            "sha256": self.sha256,
            "field": self.field,
            "held_out_share": self.held_out_share,
        }


def _texts(path: Path, raw: bytes, field: str) -> list[tuple[str, str]]:
    """Return each row's place and prompt."""
    key, suffix = f"prompts.path={path}", suffix_of(path)
    assert suffix is not None
    try:
        rows = list(read_rows(raw, suffix, [field]))
    except UnreadableFileError as error:
        raise UserError(f"{key}: {error}") from None
    require_fields(rows, [field], "prompts.field", str(path))

    def text(row: Row) -> tuple[str, str]:
        value = text_of(field_of(row.fields, field), field)
        if not value.strip():
            raise RowError(f"{field}={excerpt(value)} is empty")
        return row.where, value

    return convert(rows, text, key)
