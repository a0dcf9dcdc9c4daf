"""Rows become records, with every row that cannot be one reported together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from iterdpo.data.rows import Row
from iterdpo.data.values import RowError, column_names, report
from iterdpo.errors import UserError

Record = TypeVar("Record")


def convert(rows: Iterable[Row], read: Callable[[Row], Record], key: str) -> list[Record]:
    """Return what ``read`` makes of each row.

    Args:
        rows: As they were read.
        read: Returns the record, or raises ``RowError`` with what is wrong.
        key: The setting and its value, as in ``prompts.path=FILE``, for the message.

    Raises:
        UserError: rows are broken; how many, and the first few with place and value.
    """
    made: list[Record] = []
    problems: list[str] = []
    count = 0
    for row in rows:
        count += 1
        if row.problem:
            problems.append(row.problem)
            continue
        try:
            made.append(read(row))
        except RowError as error:
            said = str(error)
            # "line 3 has no field", but "line 3: prompt is empty".
            problems.append(f"{row.where}{'' if said.startswith('has ') else ':'} {said}")
    if problems:
        raise UserError(report(key, problems, count))
    return made


def require_fields(
    rows: Sequence[Row], names: Iterable[str], key: str, place: str, what: str = "the prompt"
) -> None:
    """Raise ``UserError`` when no row has one of the fields: then it is the name that is wrong.

    Args:
        rows: As they were read.
        names: The fields that are needed.
        key: The setting that names them, as in ``prompts.field``.
        place: What holds the rows, for the message.
        what: What the field should hold.
    """
    there = {name: None for row in rows for name in row.fields}
    for name in names:
        if there and name not in there:
            raise UserError(
                f"{key}={name}: no row of {place} has such a field; it has "
                f"{column_names(list(there))}: name the one that holds {what}"
            )
