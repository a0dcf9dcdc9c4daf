"""Reads the rows of a file: JSONL, JSON, CSV, TSV, Parquet or plain text, gzipped or not.

A row that cannot be read is returned with its problem, so that all of them can be reported
together. Lines end at LF alone: other characters that some call line ends (U+2028, form feed) may
stand inside a text.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from iterdpo.data.content import (
    MOST_UNPACKED,
    TOO_LARGE,
    UnreadableFileError,
    decoded,
    json_reason,
    json_value,
    unpacked,
)
from iterdpo.data.values import excerpt, kind_of
from iterdpo.errors import UserError

GZIP = ".gz"
_BATCH_ROWS = 1024
_ROW_BYTES = 100  # that a row costs at least, once it is Python's


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the file: its fields, or what is wrong with it."""

    where: str
    """Its place as a user finds it: ``line 12``, ``item 3``, ``row 7``, each from 1."""
    fields: Mapping[str, object] = field(default_factory=dict)
    problem: str = ""


def read_rows(raw: bytes, suffix: str, columns: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of a file's content.

    Args:
        raw: The file's bytes.
        suffix: What ``suffix_of`` says of the file's name.
        columns: The fields that are needed, the most important first. Others may be missing from
            the rows. Plain text has no fields and takes the first name.

    Raises:
        UnreadableFileError: when no row can be told from another.
    """
    if suffix.endswith(GZIP):
        raw = unpacked(raw)
    return READERS[suffix.removesuffix(GZIP)](raw, columns)


def suffix_of(path: Path) -> str | None:
    """Return the part of a name that tells the format, or None for a format that is not read."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packed = suffixes[-1:] == [GZIP]
    suffix = "".join(suffixes[-2 if packed else -1 :])
    return suffix if suffix.removesuffix(GZIP) in READERS else None


def file_bytes(path: Path, key: str) -> bytes:
    """Return the content of a file that a user named.

    Args:
        path: The file.
        key: The setting and its value, for messages.

    Raises:
        UserError: it is a directory, of a format that is not read, absent or unreadable.
    """
    try:
        if path.is_dir():
            raise UserError(f"{key}: is a directory: name a file in it")
        if suffix_of(path) is None:
            raise UserError(f"{key}: the name must end in one of {', '.join(READERS)}: rename it")
        return path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{key}: no such file: check the path") from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"{key}: cannot be read ({reason}): check it") from None


def _lines(raw: bytes) -> Iterator[tuple[str, str]]:
    text = decoded(raw)
    for number, line in enumerate(text.removesuffix("\n").split("\n") if text else (), start=1):
        yield f"line {number}", line.removesuffix("\r")


def _read_text(raw: bytes, columns: Sequence[str]) -> Iterator[Row]:
    for where, line in _lines(raw):
        if line.strip():
            yield Row(where, {columns[0]: line})


def _read_jsonl(raw: bytes, columns: Sequence[str]) -> Iterator[Row]:
    for where, line in _lines(raw):
        if not line.strip():
            continue
        try:
            value = json_value(line)
        except ValueError as error:
            yield Row(where, problem=f"{where} is not valid JSON ({json_reason(error)})")
        else:
            yield _object(where, value)


def _read_json(raw: bytes, columns: Sequence[str]) -> Iterator[Row]:
    try:
        values = json_value(decoded(raw))
    except UnreadableFileError:
        raise
    except ValueError as error:
        raise UnreadableFileError(
            f"is not valid JSON ({json_reason(error)}): correct it, or name it .jsonl if each line "
            "is an object of its own"
        ) from None
    if not isinstance(values, list):
        raise UnreadableFileError(f"holds {kind_of(values)}, not a list: give a list of objects")
    for number, value in enumerate(values, start=1):
        yield _object(f"item {number}", value)


def _read_cells(raw: bytes, columns: Sequence[str], separator: str) -> Iterator[Row]:
    text = decoded(raw)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=separator)
    header: list[str] = []
    with _cells_of_any_size(text):
        table = list(_cells(reader))
    for where, cells in table:
        if isinstance(cells, str):
            yield Row(where, problem=f"{where} is not valid CSV ({cells})")
        elif not header:
            header = cells
            for column in columns:
                if header.count(column) > 1:
                    said = f"names the column {excerpt(column)} twice"
                    raise UnreadableFileError(f"{said}: rename one")
        elif len(cells) != len(header):
            problem = f"{where} has {len(cells)} columns where the header names {len(header)}"
            yield Row(where, problem=f"{problem} (quote cells that hold separators)")
        else:
            yield Row(where, dict(zip(header, cells, strict=True)))


def _cells(reader: Any) -> Iterator[tuple[str, list[str] | str]]:
    """Yield the place of each row and its cells, or what is wrong with it."""
    while True:
        where = f"line {reader.line_num + 1}"
        try:
            cells = next(reader, None)
        except csv.Error as error:
            # Where a quote is open, the next row's beginning cannot be told.
            yield where, str(error)
            return
        if cells is None:
            return
        if cells:
            yield where, cells


@contextmanager
def _cells_of_any_size(text: str) -> Iterator[None]:
    """Let one cell hold all of the text; Python limits cells, and for the whole process."""
    before = csv.field_size_limit(max(csv.field_size_limit(), len(text)))
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _read_parquet(raw: bytes, columns: Sequence[str]) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(pa.BufferReader(raw))
        names = file.schema_arrow.names
        there = [name for name in dict.fromkeys(columns) if name in names]
        # Without any of them, one other suffices to report each row.
        batches = file.iter_batches(batch_size=_BATCH_ROWS, columns=there or names[:1])
        rows = list(_rows_of_batches(batches))
    except UnreadableFileError:
        raise
    # A damaged file ends in whatever its bytes happen to say.
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UnreadableFileError(
            f"is not a Parquet file, or is a damaged one ({reason}): write it again"
        ) from None
    absent = dict.fromkeys(name for name in names if name not in there)
    for number, values in enumerate(rows, start=1):
        yield Row(f"row {number}", absent | values)


def _rows_of_batches(batches: Iterator[Any]) -> Iterator[dict[str, object]]:
    size = 0
    for batch in batches:
        size += batch.nbytes + batch.num_rows * _ROW_BYTES
        if size > MOST_UNPACKED:
            raise UnreadableFileError(f"{TOO_LARGE}: give it in parts")
        yield from batch.to_pylist()


READERS: Mapping[str, Callable[[bytes, Sequence[str]], Iterator[Row]]] = {
    ".jsonl": _read_jsonl,
    ".json": _read_json,
    ".csv": partial(_read_cells, separator=","),
    ".tsv": partial(_read_cells, separator="\t"),
    ".parquet": _read_parquet,
    ".txt": _read_text,
}


def _object(where: str, value: Any) -> Row:
    if isinstance(value, dict):
        return Row(where, value)
    return Row(where, problem=f"{where} is {kind_of(value)}, not an object: {excerpt(value)}")
