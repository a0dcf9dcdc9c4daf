"""A file of the user's own prompts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from iterdpo.config.types import Source
from iterdpo.data.content import UnreadableFileError
from iterdpo.data.converting import convert, require_fields
from iterdpo.data.rows import Row, file_bytes, read_rows, suffix_of
from iterdpo.data.turns import INPUT, bare_text
from iterdpo.data.values import RowError, excerpt, field_of
from iterdpo.errors import UserError
from iterdpo.prompts.mapping import reference_of, require_no_input
from iterdpo.prompts.pool import BY_CONTENT, HeldOutShare, PromptPool
from iterdpo.records import Prompt
from iterdpo.settings import CountsElsewhere


@dataclass(frozen=True, kw_only=True)
class FilePrompts(PromptPool):
    """Prompts from a JSONL, JSON (a list of objects), CSV, TSV, Parquet or text file (one a line).

    A prompt reaches the model exactly as it stands in the file: white space around it and
    characters inside it are kept. Blank lines are skipped. Equal texts are kept once.
    """

    name: ClassVar[str] = "file"
    version: ClassVar[int] = 1

    path: Annotated[Source, CountsElsewhere(BY_CONTENT)]
    """The suffix names the format."""
    field: Annotated[str, CountsElsewhere(BY_CONTENT)]
    """The JSON field or the column that holds the prompt; unused for text."""
    reference: Annotated[str | None, CountsElsewhere(BY_CONTENT)]
    """The one that holds a right answer, for verifiers and judges that compare with one."""
    held_out_share: HeldOutShare
    """Share of the prompts that is kept for evaluation and never trained on."""

    def __post_init__(self) -> None:
        require_file(self.path)

    @property
    def label(self) -> str:
        return Path(self.path).name

    def prompts(self) -> list[Prompt]:
        """Return every row's prompt.

        Raises:
            UserError: when the file cannot be read, or any row holds no prompt. All broken rows
                are counted and the first few are named.
        """
        return read_file(self.path, self.field, self.reference)


def require_file(path: str) -> None:
    """Raise ``ValueError`` where a setting ``path`` names no file."""
    if not Path(path).expanduser().is_file():
        raise ValueError(f"path={path}: no such file")


def read_file(path: str, field: str, reference: str | None = None) -> list[Prompt]:
    """Return the prompt of each row of a file.

    Args:
        path: the suffix names the format.
        field: what holds the prompt.
        reference: what holds a right answer; None for nothing.

    Raises:
        UserError: it cannot be read, holds none, or a row is broken.
    """
    file, key = Path(path).expanduser(), f"prompts.path={path}"
    raw, suffix = file_bytes(file, key), suffix_of(file)
    assert suffix is not None
    columns = [field, *([reference] if reference else []), INPUT]
    try:
        rows = list(read_rows(raw, suffix, columns))
    except UnreadableFileError as error:
        raise UserError(f"{key}: {error}") from None
    require_fields(rows, [field], "prompts.field", path)
    if reference:
        require_fields(rows, [reference], "prompts.reference", path, "a right answer")

    def prompt(row: Row) -> Prompt:
        value = bare_text(field_of(row.fields, field), field)
        require_no_input(
            row.fields, field, "prompts=dataset reads it with prompts.dataset.join=[input]"
        )
        if not value.strip():
            raise RowError(f"{field}={excerpt(value)} is empty")
        right = reference_of(row.fields, reference)
        return Prompt.of(value, f"{file.name}, {row.where}", reference=right)

    prompts = convert(rows, prompt, key)
    if not prompts:
        raise UserError(f"{key}: holds no prompt: add some")
    return prompts
