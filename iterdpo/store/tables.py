"""Records as Parquet tables: one row a record, columns as the dataclass declares them.

A ``Verdict`` is spread over three columns, so that a score stays a nullable number in any tool
that reads the file, and an unscored verdict keeps its reason and raw text.

What a dataclass declares as a ``Sequence`` of numbers is long, such as an answer's token ids, and
comes back ``Packed``; a ``tuple`` of numbers comes back as one. In the file they are the same.
What has no column type of its own, such as the turns of a conversation, is JSON in a text column.

A field that stands at its neutral value in every record (see ``settings``) has no column: files are
the same as before there was such a field, and files from then are read.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_type_hints

from iterdpo.records import Scored, Unscored, UnscoredReason, Verdict
from iterdpo.settings import settings_of
from iterdpo.store.packed import Packed, packed_lists

if TYPE_CHECKING:
    import pyarrow
    from pydantic import TypeAdapter

Record = TypeVar("Record")

RECORDS_FILE = "records.parquet"
"""Of a stage that leaves records, in its directory."""

_VERDICT_COLUMNS = ("score", "unscored_reason", "unscored_raw")
_LONG = (Sequence[int], Sequence[float])
_ROWS_AT_ONCE = 1024


def write_records(path: Path, kind: type[Record], records: Iterable[Record]) -> int:
    """Write ``records``, all of dataclass ``kind``, to a Parquet file; return how many."""
    import pyarrow
    import pyarrow.parquet

    rows = list(records)
    columns = {
        item.name: hint
        for item, hint in zip(settings_of(kind), _hints(kind).values(), strict=True)
        if not item.has_neutral or not all(item.is_neutral(getattr(row, item.name)) for row in rows)
    }
    table = pyarrow.Table.from_pylist(
        [_row(record, columns) for record in rows], schema=_schema(columns)
    )
    pyarrow.parquet.write_table(table, path, compression="zstd")
    return cast(int, table.num_rows)


def read_records(path: Path, kind: type[Record]) -> list[Record]:
    """Read the records of dataclass ``kind`` that ``write_records`` wrote."""
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        there = set(file.schema_arrow.names)
        lacking = {item.name for item in settings_of(kind) if item.has_neutral} - there
        hints = {name: hint for name, hint in _hints(kind).items() if name not in lacking}
        # A few rows at a time: the whole table beside its records would be twice the memory.
        batches = file.iter_batches(_ROWS_AT_ONCE)
        return [_record(kind, hints, row) for batch in batches for row in _rows(batch, hints)]


def _hints(kind: Any) -> dict[str, Any]:
    """Return the type of each column, without what ``Annotated`` adds."""
    own = get_type_hints(kind)
    return {item.name: own[item.name] for item in settings_of(kind)}


def _rows(batch: pyarrow.RecordBatch, hints: dict[str, Any]) -> Iterator[dict[str, Any]]:
    names = batch.schema.names
    columns = [
        packed_lists(batch[name]) if hints.get(name) in _LONG else batch[name].to_pylist()
        for name in names
    ]
    for values in zip(*columns, strict=True):
        yield dict(zip(names, values, strict=True))


def _row(record: Any, columns: Mapping[str, Any]) -> dict[str, object]:
    import numpy

    row: dict[str, object] = {}
    for name, hint in columns.items():
        value = getattr(record, name)
        if isinstance(value, Scored):
            row |= dict.fromkeys(_VERDICT_COLUMNS) | {"score": value.score}
        elif isinstance(value, Unscored):
            row |= {
                "score": None,
                "unscored_reason": value.reason.value,
                "unscored_raw": value.raw,
            }
        elif isinstance(value, Packed):
            row[name] = numpy.asarray(value)
        else:
            row[name] = value if _arrow_type(hint) else _json(hint).dump_json(value).decode()
    return row


def _record(kind: type[Record], hints: dict[str, Any], row: dict[str, Any]) -> Record:
    values: dict[str, Any] = {}
    for name, hint in hints.items():
        if hint == Verdict:
            values[name] = _verdict(row)
        elif _arrow_type(hint) is None:
            values[name] = _json(hint).validate_json(row[name])
        elif isinstance(row[name], list):
            values[name] = tuple(row[name])
        elif isinstance(hint, type) and issubclass(hint, StrEnum):
            values[name] = hint(row[name])
        else:
            values[name] = row[name]
    return kind(**values)


def _verdict(row: dict[str, Any]) -> Verdict:
    if row["score"] is not None:
        return Scored(row["score"])
    return Unscored(UnscoredReason(row["unscored_reason"]), row["unscored_raw"])


def _schema(hints: Mapping[str, Any]) -> pyarrow.Schema:
    import pyarrow

    columns: list[tuple[str, pyarrow.DataType]] = []
    for name, hint in hints.items():
        if hint == Verdict:
            kinds = (pyarrow.float64(), pyarrow.string(), pyarrow.string())
            columns.extend(zip(_VERDICT_COLUMNS, kinds, strict=True))
        else:
            columns.append((name, _arrow_type(hint) or pyarrow.string()))
    return pyarrow.schema(columns)


@functools.cache
def _json(hint: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(hint)


@functools.cache
def _arrow_type(hint: Any) -> pyarrow.DataType | None:
    """Return a column's type; None for what is written as JSON."""
    import pyarrow

    simple: dict[Any, pyarrow.DataType] = {
        str: pyarrow.string(),
        str | None: pyarrow.string(),
        int: pyarrow.int64(),
        float: pyarrow.float64(),
        float | None: pyarrow.float64(),
        bool: pyarrow.bool_(),
        tuple[int, ...]: pyarrow.list_(pyarrow.int32()),
        tuple[float, ...]: pyarrow.list_(pyarrow.float64()),
        Sequence[int]: pyarrow.list_(pyarrow.int32()),
        Sequence[float]: pyarrow.list_(pyarrow.float64()),
        tuple[str, ...]: pyarrow.list_(pyarrow.string()),
    }
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return pyarrow.string()
    return simple.get(hint)
