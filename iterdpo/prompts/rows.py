"""Reads the rows of a file of prompts: JSONL, JSON, CSV, Parquet or plain text.

A row that cannot be read is returned with its problem, so that all of them can be reported
together. Lines end at LF alone: other characters that some call line ends (U+2028, form feed) may
stand inside a prompt.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from iterdpo.prompts.base import excerpt


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the file: its fields, or what is wrong with it."""

    where: str
    """Its place as a user finds it: ``line 12``, ``item 3``, ``row 7``, each from 1."""
    fields: Mapping[str, object] = field(default_factory=dict)
    problem: str = ""


class UnreadableFileError(ValueError):
    """The file as a whole is not what its suffix says. The text names the problem and advises."""


def read_rows(raw: bytes, suffix: str, column: str) -> Iterator[Row]:
    """Yield the rows of a file's content.

    Args:
        raw: The file's bytes.
        suffix: A key of ``READERS``, which names the format.
        column: The field that holds the prompt. Plain text has no fields and takes this name.

    Raises:
        UnreadableFileError: when no row can be told from another.
    """
    return READERS[suffix](raw, column)


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UnreadableFileError(
            f"line {line} is not UTF-8 (byte 0x{raw[error.start]:02x}): save the file as UTF-8"
        ) from None


def _lines(raw: bytes) -> Iterator[tuple[str, str]]:
    text = _text(raw)
    for number, line in enumerate(text.removesuffix("\n").split("\n") if text else (), start=1):
        yield f"line {number}", line.removesuffix("\r")


def _read_text(raw: bytes, column: str) -> Iterator[Row]:
    for where, line in _lines(raw):
        if line.strip():
            yield Row(where, {column: line})


def _read_jsonl(raw: bytes, column: str) -> Iterator[Row]:
    for where, line in _lines(raw):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield Row(where, problem=f"{where} is not valid JSON ({_reason(error)})")
        else:
            yield _object(where, value)


def _read_json(raw: bytes, column: str) -> Iterator[Row]:
    try:
        values = json.loads(_text(raw))
    except UnreadableFileError:
        raise
    except (ValueError, RecursionError) as error:
        raise UnreadableFileError(
            f"is not valid JSON ({_reason(error)}): correct it, or name it .jsonl if each line is "
            "an object of its own"
        ) from None
    if not isinstance(values, list):
        raise UnreadableFileError(f"holds {kind_of(values)}, not a list: give a list of objects")
    for number, value in enumerate(values, start=1):
        yield _object(f"item {number}", value)


def _read_csv(raw: bytes, column: str) -> Iterator[Row]:
    reader = csv.reader(io.StringIO(_text(raw), newline=""), strict=True)
    header: list[str] = []
    while True:
        where = f"line {reader.line_num + 1}"
        try:
            cells = next(reader, None)
        except csv.Error as error:
            # Where a quote is open, the next row's beginning cannot be told.
            yield Row(where, problem=f"{where} is not valid CSV ({error})")
            return
        if cells is None:
            return
        if not cells:
            continue
        if not header:
            header = cells
            if header.count(column) > 1:
                raise UnreadableFileError(f"names the column {excerpt(column)} twice: rename one")
        elif len(cells) != len(header):
            problem = f"{where} has {len(cells)} columns where the header names {len(header)}"
            yield Row(where, problem=f"{problem} (quote cells that hold commas)")
        else:
            yield Row(where, dict(zip(header, cells, strict=True)))


def _read_parquet(raw: bytes, column: str) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(pa.BufferReader(raw))
        names = file.schema_arrow.names
        # Without the column, one other suffices to report each row.
        wanted = file.read([column] if column in names else names[:1])
    except pa.ArrowException as error:
        reason = str(error).splitlines()[0]
        raise UnreadableFileError(f"is not a Parquet file ({reason}): write it again") from None
    for number, value in enumerate(wanted.column(0).to_pylist(), start=1):
        absent = dict.fromkeys(names)
        yield Row(f"row {number}", {column: value} if column in names else absent)


READERS: Mapping[str, Callable[[bytes, str], Iterator[Row]]] = {
    ".jsonl": _read_jsonl,
    ".json": _read_json,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
    ".txt": _read_text,
}


def _object(where: str, value: Any) -> Row:
    if isinstance(value, dict):
        return Row(where, value)
    return Row(where, problem=f"{where} is {kind_of(value)}, not an object: {excerpt(value)}")


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        line = f"line {error.lineno}, " if error.lineno > 1 else ""
        return f"{error.msg.removesuffix(' at')}, {line}column {error.colno}"
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)


def kind_of(value: object) -> str:
    """Return what JSON calls the value, with its article."""
    names = {
        str: "a text", bool: "a truth value", int: "a number", float: "a number", list: "a list",
        dict: "an object", type(None): "null",
    }  # fmt: skip
    return names.get(type(value), f"a {type(value).__name__}")
