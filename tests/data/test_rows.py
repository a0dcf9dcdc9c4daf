"""Rows of files, whatever their bytes."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iterdpo.data.content import UnreadableFileError
from iterdpo.data.rows import READERS, Row, read_rows
from tests.damage import damaged

COLUMNS = ["prompt", "chosen"]


def read(raw: bytes, suffix: str) -> list[Row]:
    """Return the rows; a file that is refused is one row, with what is said of it."""
    try:
        rows = list(read_rows(raw, suffix, COLUMNS))
    except UnreadableFileError as error:
        rows = [Row("file", problem=str(error))]
    assert all(len(row.problem.splitlines()) <= 1 for row in rows)
    return rows


def parquet(count: int) -> bytes:
    made = io.BytesIO()
    talk = [[{"role": "user", "content": f"{n}"}] for n in range(count)]
    pq.write_table(pa.table({"prompt": [f"text {n}" for n in range(count)], "chosen": talk}), made)
    return made.getvalue()


@pytest.mark.parametrize("separator", [",", "\t"])
def test_a_cell_may_be_as_long_as_its_file(separator: str) -> None:
    before = csv.field_size_limit()
    suffix = ".csv" if separator == "," else ".tsv"
    raw = separator.join(["prompt", "notes"]) + f"\nshort{separator}" + "n" * 150_000 + "\n"
    (row,) = read(raw.encode(), suffix)
    assert (row.fields["prompt"], len(str(row.fields["notes"]))) == ("short", 150_000)
    assert csv.field_size_limit() == before


def test_cells_between_tabs_hold_commas_quotes_and_lines() -> None:
    made = io.StringIO()
    texts = ['say "fish"', "one, two", "a\tb", "two\nlines"]
    csv.writer(made, delimiter="\t").writerows([["prompt"], *([text] for text in texts)])
    assert [row.fields["prompt"] for row in read(made.getvalue().encode(), ".tsv")] == texts


def test_no_flipped_bit_of_a_parquet_file_is_more_than_a_line() -> None:
    raw, chance = parquet(40), random.Random(0)
    for _ in range(300):
        bit = chance.randrange(8 * len(raw))
        flipped = bytearray(raw)
        flipped[bit // 8] ^= 1 << (bit % 8)
        read(bytes(flipped), ".parquet")
    with pytest.raises(UnreadableFileError, match="is not a Parquet file, or is a damaged one"):
        list(read_rows(raw[:-40] + raw[-20:], ".parquet", COLUMNS))


def fragments() -> Iterator[str]:
    yield from ('{"prompt": "a"}', '{"prompt": "\\ud83d"}', "[", "{", '"', ",", "\t", "\n", "\r\n")
    yield from ("prompt", "chosen", "1e999", "NaN", "null", "\0", "\u2028", "\ufeff", "é", " ")


def whole(suffix: str) -> bytes:
    """Return a file of two rows."""
    rows = [{"prompt": "a", "chosen": 'say "b",\tc'}, {"prompt": "é", "chosen": "d"}]
    if suffix.endswith(".gz"):
        return gzip.compress(whole(suffix.removesuffix(".gz")), mtime=0)
    if suffix == ".parquet":
        return parquet(2)
    if suffix in (".csv", ".tsv"):
        made = io.StringIO(newline="")
        separator = "," if suffix == ".csv" else "\t"
        csv.writer(made, delimiter=separator).writerows([COLUMNS, *(row.values() for row in rows)])
        return made.getvalue().encode()
    lines = [json.dumps(row) for row in rows]
    return (f"[{', '.join(lines)}]" if suffix == ".json" else "\n".join(lines)).encode()


@given(data=st.data(), suffix=st.sampled_from([*READERS, ".jsonl.gz", ".csv.gz"]))
def test_any_bytes_are_rows_or_one_line(data: st.DataObject, suffix: str) -> None:
    text = st.lists(st.sampled_from([*fragments()])).map(lambda parts: "".join(parts).encode())
    read(data.draw(st.one_of(st.binary(max_size=60), text, damaged(whole(suffix)))), suffix)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])).filter(str.strip), min_size=1))
def test_any_text_comes_through_every_format(texts: list[str]) -> None:
    made = io.StringIO(newline="")
    csv.writer(made).writerows([["prompt"], *([text] for text in texts)])
    table = io.BytesIO()
    pq.write_table(pa.table({"prompt": texts}), table)
    lines = "".join(json.dumps({"prompt": text}, ensure_ascii=False) + "\n" for text in texts)
    files = {
        ".csv": made.getvalue().encode(),
        ".parquet": table.getvalue(),
        ".jsonl": lines.encode(),
    }
    for suffix, raw in files.items():
        assert [row.fields["prompt"] for row in read(raw, suffix)] == texts
