"""A file of the user's own prompts."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from iterdpo.errors import UserError
from iterdpo.prompts.base import excerpt, folded
from iterdpo.prompts.pool import Pool
from iterdpo.prompts.rows import READERS, Row, UnreadableFileError, kind_of, read_rows
from iterdpo.records import Prompt

log = logging.getLogger(__name__)

NAMED = 5  # broken rows that an error names; the others are counted


class FilePrompts:
    """Prompts from a JSONL, JSON (a list of objects), CSV, Parquet or text file (one a line).

    A prompt reaches the model exactly as it stands in the file: white space around it and
    characters inside it are kept. Blank lines are skipped. Equal texts are kept once.

    Whether a prompt is for the loop, for evaluation or for the labelled set is decided by a hash
    of its text alone, so it stays where it is when other rows are added or removed. Texts that
    differ only in case, white space or Unicode form go to the same set.
    """

    def __init__(self, path: Path, field: str = "prompt", held_out_share: float = 0.1) -> None:
        """Read the file.

        Args:
            path: The suffix names the format.
            field: The JSON field or the column that holds the prompt; unused for text.
            held_out_share: Share of the texts that the loop never sees, in (0, 1); one half is
                for evaluation, the other for the labelled set.

        Raises:
            UserError: when the file cannot be read, or any row holds no prompt. All broken rows
                are counted and the first few are named.
        """
        if not 0 < held_out_share < 1:
            raise UserError(f"prompts.held_out_share={held_out_share}: must be above 0 and below 1")
        self.path, self.field, self.held_out_share = path, field, held_out_share
        raw = _content(path)
        self.sha256 = hashlib.sha256(raw).hexdigest()
        self._source: dict[str, str] = {}
        self.duplicates = 0
        """Rows left out because an earlier one has the same text."""
        for where, text in _texts(path, raw, field):
            self.duplicates += text in self._source
            self._source.setdefault(text, f"{path.name}, {where}")
        if not self._source:
            raise UserError(f"prompts.path={path}: holds no prompt: add some")
        if self.duplicates:
            log.warning(
                "prompts.path=%s: %d rows repeat the text of another and count once",
                path, self.duplicates,
            )  # fmt: skip

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

    def loop(self, iteration: int, count: int, seed: int) -> list[Prompt]:
        """Return the new prompts of an iteration, as ``PromptSource`` says."""
        return self._pools["loop"].iteration(iteration, count, seed)

    def evaluation(self, count: int, seed: int) -> list[Prompt]:
        """Return up to ``count`` held-out prompts, on which writers are measured."""
        return self._pools["evaluation"].first(count, seed)

    def labelled(self, count: int, seed: int) -> list[Prompt]:
        """Return up to ``count`` held-out prompts, on whose answers judges are measured."""
        return self._pools["labelled"].first(count, seed)

    @cached_property
    def _pools(self) -> Mapping[str, Pool]:
        members: dict[str, list[str]] = {"loop": [], "evaluation": [], "labelled": []}
        for text in self._source:
            members[split_of(text, self.held_out_share)].append(text)
        remedy = (
            f"a hash of the text puts {self.held_out_share / 2:.1%} of the texts into each of the "
            f"evaluation and labelled sets, and {self.path.name} holds {len(self._source)} texts; "
            "add prompts or change prompts.held_out_share"
        )
        return {
            name: Pool(name, tuple(texts), self._source.__getitem__, remedy)
            for name, texts in members.items()
        }


def split_of(text: str, held_out_share: float) -> str:
    """Return the set that a text belongs to: ``loop``, ``evaluation`` or ``labelled``.

    Args:
        text: Case, white space and Unicode form make no difference.
        held_out_share: Share of all texts that is not for the loop, in (0, 1); one half is for
            evaluation. With a larger share no held-out text goes back to the loop.
    """
    digest = hashlib.sha256(f"split {folded(text)}".encode()).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    if place >= held_out_share:
        return "loop"
    # A bit of its own: the sets keep their members when the share changes.
    return "evaluation" if digest[8] % 2 else "labelled"


def _content(path: Path) -> bytes:
    key = f"prompts.path={path}"
    if path.is_dir():
        raise UserError(f"{key}: is a directory: name a file in it")
    if path.suffix.lower() not in READERS:
        raise UserError(f"{key}: the name must end in one of {', '.join(READERS)}: rename it")
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{key}: no such file: check the path") from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"{key}: cannot be read ({reason}): check it") from None


def _texts(path: Path, raw: bytes, field: str) -> list[tuple[str, str]]:
    """Return each row's place and prompt."""
    try:
        rows = list(read_rows(raw, path.suffix.lower(), field))
    except UnreadableFileError as error:
        raise UserError(f"prompts.path={path}: {error}") from None
    _require_field(path, rows, field)
    texts, problems = [], []
    for row in rows:
        value = row.fields.get(field)
        if problem := row.problem or _problem(row, field):
            problems.append(problem)
        elif isinstance(value, str):
            texts.append((row.where, value))
    if problems:
        raise UserError(_report(path, problems, len(rows)))
    return texts


def _require_field(path: Path, rows: Sequence[Row], field: str) -> None:
    names = {name: None for row in rows for name in row.fields}
    if names and field not in names:
        raise UserError(
            f"prompts.field={field}: no row of {path} has such a field; it has "
            f"{', '.join(list(names)[:20])}: name the one that holds the prompt"
        )


def _problem(row: Row, field: str) -> str:
    value = row.fields.get(field)
    if field not in row.fields:
        names = ", ".join(list(row.fields)[:20]) or "none"
        return f"{row.where} has no field {excerpt(field)} (it has: {names})"
    if not isinstance(value, str):
        return f"{row.where}: {field}={excerpt(value)} is {kind_of(value)}, not a text"
    if not value.strip():
        return f"{row.where}: {field}={excerpt(value)} is empty"
    try:
        value.encode()
    except UnicodeEncodeError as error:
        unit = f"U+{ord(value[error.start]):04X}"
        return f"{row.where}: {field} holds half of a surrogate pair ({unit})"
    return ""


def _report(path: Path, problems: Sequence[str], rows: int) -> str:
    key = f"prompts.path={path}"
    if len(problems) == 1:
        return f"{key}: {problems[0]}: fix or remove it"
    rest = len(problems) - NAMED
    more = f"; and {rest} more" if rest > 0 else ""
    first = "; ".join(problems[:NAMED])
    return f"{key}: {len(problems)} of {rows} rows are broken: {first}{more}: fix or remove them"
