"""What a file holds: unpacked within a limit, decoded, and said once."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from iterdpo.data import content, rows
from iterdpo.data.content import UnreadableFileError, decoded, json_value, text_file
from iterdpo.data.rows import read_rows
from iterdpo.errors import UserError

LINE = b'{"prompt": "Name a fish"}\n'


def zipped(raw: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("rows.jsonl", raw)
    return made.getvalue()


def parquet(raw: bytes, count: int = 1) -> bytes:
    made = io.BytesIO()
    pq.write_table(pa.table({"prompt": [raw.decode()] * count}), made)
    return made.getvalue()


@pytest.mark.parametrize("suffix", [".jsonl.gz", ".parquet"])
def test_what_a_few_bytes_unpack_to_has_a_limit_that_is_said(
    monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    for module in (content, rows):
        monkeypatch.setattr(module, "MOST_UNPACKED", 100_000)
    pack = gzip.compress if suffix.endswith(".gz") else parquet
    assert len(list(read_rows(pack(LINE), suffix, ["prompt"]))) == 1
    large = b'{"prompt": "' + b"a" * 200_000 + b'"}\n'
    assert len(pack(large)) < 20_000
    with pytest.raises(UnreadableFileError, match=r"^unpacks to more than 1 GiB: give it "):
        list(read_rows(pack(large), suffix, ["prompt"]))


def test_a_parquet_file_of_endless_rows_is_stopped_on_the_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rows, "MOST_UNPACKED", 1_000_000)
    with pytest.raises(UnreadableFileError, match="unpacks to more"):
        list(read_rows(parquet(b"", count=1_000_000), ".parquet", ["prompt"]))


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (gzip.compress(LINE), "is compressed by gzip: add .gz to its name"),
        (gzip.compress(gzip.compress(LINE)), "is compressed by gzip"),
        (parquet(LINE * 99), "is a Parquet file: name it .parquet"),
        (zipped(LINE * 99), "is a zip archive: unpack it"),
        (lzma.compress(LINE), "is compressed by xz: unpack it"),
        (bz2.compress(LINE), "is compressed by bzip2: unpack it"),
        (LINE + b"caf\xe9", "line 2 is not UTF-8 (byte 0xe9): save the file as UTF-8"),
        (LINE.decode().encode("utf-16"), "line 1 is not UTF-8 (byte 0xff)"),
    ],
)
def test_what_is_no_text_is_called_what_it_is(raw: bytes, said: str) -> None:
    with pytest.raises(UnreadableFileError) as error:
        decoded(raw)
    assert str(error.value).startswith(said)


def test_a_text_that_only_begins_like_an_archive_is_a_text() -> None:
    assert decoded(b"PAR1 or PK\x03\x04?") == "PAR1 or PK\x03\x04?"


def test_the_mark_before_a_text_is_dropped_and_none_inside_it(tmp_path: Path) -> None:
    file = tmp_path / "rubric.txt"
    file.write_bytes("\ufeffGrade \ufeff it".encode())
    assert text_file(file, "judge.rubric=rubric.txt") == "Grade \ufeff it"
    file.write_bytes(b"one\r\ntwo\rthree\n")
    assert text_file(file, "judge.rubric=rubric.txt") == file.read_text() == "one\ntwo\nthree\n"


@pytest.mark.parametrize("name", ["absent", "", "n" * 300, "nul\0"])
def test_a_text_that_cannot_be_read_is_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"^judge\.labels=FILE: [^\n]+$"):
        text_file(tmp_path / name, "judge.labels=FILE")


@pytest.mark.parametrize("text", ['{"a": 1, "b": 2, "a": 3}', '[{"x": {"a": 1, "a": 1}}]'])
def test_a_field_that_is_named_twice_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r'^names the field "a" twice$'):
        json_value(text)
    line = json.dumps({"prompt": "good"}) + "\n" + text.strip("[]")
    *_, broken = read_rows(line.encode(), ".jsonl", ["prompt"])
    assert broken.problem == 'line 2 is not valid JSON (names the field "a" twice)'
