"""Rows from files, directories and the hub, and what is said where there are none."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from iterdpo.data.rows import suffix_of
from iterdpo.data.source import RowSource, read_source
from iterdpo.errors import UserError

ROWS = [{"n": n, "text": f"text {n}", "turns": [{"role": "user", "content": "x"}]} for n in (1, 2)]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def source(path: object, **settings: Any) -> RowSource:
    return RowSource(path=str(path), key="prompts.path", **settings)


def refusal(path: object, **settings: object) -> str:
    with pytest.raises(UserError) as error:
        read_source(source(path, **settings), ["text"])
    assert "\n" not in str(error.value)
    return str(error.value)


def jsonl(rows: Sequence[Mapping[str, object]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def test_a_file_is_called_by_its_name_however_the_home_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "rows.jsonl").write_bytes(jsonl(ROWS))
    assert source("~/rows.jsonl").name == source(tmp_path / "rows.jsonl").name == "rows.jsonl"


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz", "a.b.JSONL.GZ"])
def test_a_file_packed_or_not(tmp_path: Path, name: str) -> None:
    content = jsonl(ROWS)
    (tmp_path / name).write_bytes(gzip.compress(content) if "gz" in name.lower() else content)
    rows = read_source(source(tmp_path / name), ["text"])
    assert [row.fields for row in rows] == ROWS
    assert [row.where for row in rows] == ["line 1", "line 2"]


def test_parquet_reads_the_fields_that_are_asked_for_and_knows_of_the_others(
    tmp_path: Path,
) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "rows.parquet")
    rows = read_source(source(tmp_path / "rows.parquet"), ["turns", "text", "absent"])
    assert rows[1].fields == ROWS[1] | {"n": None}
    assert list(rows[0].fields) == ["n", "turns", "text"]


def test_a_local_copy_goes_before_the_files_and_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org").mkdir()
    (tmp_path / "org" / "name.jsonl").write_bytes(jsonl(ROWS))
    assert len(read_source(source("org/name.jsonl", files=("train.jsonl",)), ["text"])) == 2


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("a.csv", ".csv"), ("a.tar.gz", None), ("a.gz", None), ("a", None),
        ("2023_ready.messages.jsonl.gz", ".jsonl.gz"), ("a.v2.json", ".json"),
    ],
)  # fmt: skip
def test_the_name_tells_the_format(name: str, suffix: str | None) -> None:
    assert suffix_of(Path(name)) == suffix


def test_a_broken_archive_and_a_missing_file(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress(jsonl(ROWS))[:-9])
    assert "is not a gzip file" in refusal(tmp_path / "rows.jsonl.gz")
    assert "no such file" in refusal(tmp_path / "absent.jsonl")
    assert "no such file or directory, and no hub id" in refusal(tmp_path / "absent")
    (tmp_path / "empty.jsonl").write_bytes(b"\n")
    assert "holds no row" in refusal(tmp_path / "empty.jsonl")


def test_a_directory_is_read_by_split_or_by_file(tmp_path: Path) -> None:
    place = tmp_path / "copy"
    (place / "data").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(ROWS), place / "data" / "train-00000-of-00001.parquet")
    pq.write_table(pa.Table.from_pylist(ROWS[:1]), place / "data" / "test-00000-of-00001.parquet")
    rows = read_source(source(place, split="train"), ["text", "turns"])
    assert [row.fields for row in rows] == [row | {"n": None} for row in ROWS]
    assert rows[1].where == "train, row 2"
    assert len(read_source(source(place, split="test"), ["text"])) == 1
    one = read_source(source(place, files=("data/test-00000-of-00001.parquet",)), ["text"])
    assert one[0].where == "data/test-00000-of-00001.parquet, row 1"
    said = refusal(place, split="validation")
    assert said.startswith(f"prompts.path={place}: ")
    assert "check subset, split, revision and files" in said
    (tmp_path / "nothing").mkdir()
    assert "huggingface.co" not in said + refusal(tmp_path / "nothing")


def test_without_a_network_the_hub_says_so() -> None:
    for settings in ({}, {"files": ("train.jsonl",)}):
        said = refusal("nobody/nothing-of-this-name", **settings)
        assert "the hub cannot be reached and the dataset is not in the cache" in said


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (FileNotFoundError("Dataset 'a/b' is a gated dataset on the Hub. You must be "
                           "authenticated to access it."), "accept its terms at https://"),
        (RuntimeError("Dataset scripts are no longer supported, but found b.py"),
         "comes with a loading script, which is never run"),
        (ValueError('Unknown split "train". Should be one of [\'eval\'].'), "Unknown split"),
        (ConnectionError("Couldn't reach 'a/b' on the Hub"), "the hub cannot be reached"),
        (OSError("disk\nfell off"), "cannot be loaded (disk fell off)"),
    ],
)  # fmt: skip
def test_what_the_hub_refuses_is_one_line(
    monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    import datasets

    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    assert said in refusal("a/b")


def test_the_hub_is_asked_for_what_is_set_and_no_code_is_trusted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import datasets

    asked: list[object] = []
    commit = "0123456789" * 4

    def load(*args: object, **settings: object) -> datasets.Dataset:
        asked.append((args, settings))
        return datasets.Dataset.from_list(ROWS)

    monkeypatch.setattr(datasets, "load_dataset", load)
    rows = read_source(source("a/b", subset="en", split="eval", revision=commit), ["text"])
    assert asked == [(("a/b", "en"), {"split": "eval", "revision": commit})]
    assert rows[0].where == "eval, row 1"


def test_another_revision_from_the_cache_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    there = datasets.Dataset.from_list(ROWS)
    files = SimpleNamespace(value=[{"filename": f"/cache/a___b/default/0.0.0/{'e' * 40}/b.arrow"}])
    monkeypatch.setattr(datasets.Dataset, "cache_files", property(lambda _: files.value))
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: there)
    assert "another revision than dddddddddd" in refusal("a/b", revision="d" * 40)
    assert len(read_source(source("a/b", revision="e" * 40), ["text"])) == 2
    assert len(read_source(source("a/b", revision="main"), ["text"])) == 2


def test_a_file_of_the_hub_is_downloaded_and_read_by_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    (tmp_path / "train.jsonl").write_bytes(jsonl(ROWS) + b"{\n")
    asked: list[object] = []

    def download(*args: object, **settings: object) -> str:
        asked.append((args, settings))
        return str(tmp_path / "train.jsonl")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    rows = read_source(source("a/b", files=("train.jsonl",)), ["text"])
    assert asked == [(("a/b", "train.jsonl"), {"repo_type": "dataset", "revision": None})]
    assert rows[0].where == "train.jsonl, line 1"
    assert rows[2].problem.startswith("train.jsonl, line 3 is not valid JSON")
