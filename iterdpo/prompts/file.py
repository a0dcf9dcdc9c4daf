"""A file of the user's own prompts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from iterdpo.config.types import Source
from iterdpo.conversation import Message
from iterdpo.data.content import UnreadableFileError
from iterdpo.data.converting import convert, require_fields
from iterdpo.data.rows import Row, file_bytes, read_rows, suffix_of
from iterdpo.data.turns import INPUT, bare_text
from iterdpo.data.values import RowError, excerpt, field_of
from iterdpo.errors import UserError
from iterdpo.prompts.conversations import (
    NOTHING_BESIDE,
    Beside,
    prompt_of,
    up_to_the_user,
)
from iterdpo.prompts.mapping import require_no_input
from iterdpo.prompts.pool import BY_CONTENT, HeldOutShare, PromptPool
from iterdpo.records import Prompt
from iterdpo.settings import CountsElsewhere


@dataclass(frozen=True, kw_only=True)
class FilePrompts(PromptPool):
    """Prompts from a JSONL, JSON (a list of objects), CSV, TSV, Parquet or text file (one a line).

    A prompt reaches the model exactly as it stands in the file: white space around it and
    characters inside it are kept. Blank lines are skipped. Equal prompts are kept once. A list of
    turns is a conversation, of which the user's last turn is answered.
    """

    name: ClassVar[str] = "file"
    version: ClassVar[int] = 1

    path: Annotated[Source, CountsElsewhere(BY_CONTENT)]
    """The suffix names the format."""
    field: Annotated[str, CountsElsewhere(BY_CONTENT)]
    """The JSON field or the column that holds the prompt; unused for text."""
    reference: Annotated[str | None, CountsElsewhere(BY_CONTENT)]
    """The one that holds a right answer, for verifiers and judges that compare with one."""
    rubric: Annotated[str | None, CountsElsewhere(BY_CONTENT)]
    """What holds the criteria by which the answers to this very prompt are judged."""
    metadata: Annotated[tuple[str, ...], CountsElsewhere(BY_CONTENT)]
    """Further ones to keep with the prompt, for judges and verifiers of one's own."""
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
        beside = Beside(self.reference, self.rubric, self.metadata)
        return read_file(self.path, self.field, beside)


def require_file(path: str) -> None:
    """Raise ``ValueError`` where a setting ``path`` names no file."""
    if not Path(path).expanduser().is_file():
        raise ValueError(f"path={path}: no such file")


def read_file(path: str, field: str, beside: Beside = NOTHING_BESIDE) -> list[Prompt]:
    """Return the prompt of each row of a file.

    Args:
        path: the suffix names the format.
        field: what holds the prompt.
        beside: what holds whatever is known of a prompt beside its text.

    Raises:
        UserError: it cannot be read, holds none, or a row is broken.
    """
    file, key = Path(path).expanduser(), f"prompts.path={path}"
    raw, suffix = file_bytes(file, key), suffix_of(file)
    assert suffix is not None
    columns = [field, *beside.columns, INPUT]
    try:
        rows = list(read_rows(raw, suffix, columns))
    except UnreadableFileError as error:
        raise UserError(f"{key}: {error}") from None
    require_fields(rows, [field], "prompts.field", path)
    beside.require(rows, path)

    def prompt(row: Row) -> Prompt:
        value = field_of(row.fields, field)
        require_no_input(
            row.fields, field, "prompts=dataset reads it with prompts.dataset.join=[input]"
        )
        if isinstance(value, list):
            asked = up_to_the_user(value, field)
        else:
            asked = (Message("user", bare_text(value, field)),)
        if not asked[-1].content.strip():
            raise RowError(f"{field}={excerpt(value)} is empty")
        return prompt_of(asked, f"{file.name}, {row.where}", **beside.of(row.fields))

    prompts = convert(rows, prompt, key)
    if not prompts:
        raise UserError(f"{key}: holds no prompt: add some")
    return prompts
