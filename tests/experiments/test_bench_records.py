"""The benchmark of records: it compares the same answers, and counts what is there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow
import pytest

from experiments import bench_records
from iterdpo.records import Candidate
from iterdpo.store.tables import read_records, write_records


def test_both_ways_read_the_same_answers(tmp_path: Path) -> None:
    made = bench_records.answers(6, 5, 3)
    assert [len(one.token_ids) for one in made] == [5] * 6
    assert len({one.prompt_token_ids for one in made}) == 2
    write_records(tmp_path / "t", Candidate, made)
    tuples = bench_records.read_as_tuples(tmp_path / "t")
    assert tuples == read_records(tmp_path / "t", Candidate) == made
    assert all(type(one.token_ids) is tuple for one in tuples)


def test_memory_is_what_is_held_and_the_most_of_python_and_arrow() -> None:
    def call() -> bytes:
        bytes(3_000_000)
        pyarrow.array(np.zeros(250_000, np.float32)).cast(pyarrow.float64())  # 2 MB of Arrow's
        return bytes(1_000_000)

    found = bench_records.Memory.of(call)
    assert found.held == pytest.approx(1_000_000, rel=0.05)
    assert found.peak == pytest.approx(3_000_000 + 2_000_000, rel=0.05)


def test_the_page_gets_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{bench_records.BEGIN}\nold\n{bench_records.END}\nafter\n")
    monkeypatch.setattr(
        "sys.argv", ["bench", "--answers=64", "--tokens=200", "--rounds=2", f"--page={page}"]
    )
    bench_records.main()
    text = page.read_text("utf-8")
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "64 answers of 200 tokens" in text
    held = next(line for line in text.splitlines() if line.startswith("| bytes a token, held"))
    tuples, packed = (int(cell) for cell in held.split("|")[2:4])
    # Id, log-prob and four letters; a prompt of 200 and the record are at most as much again.
    assert tuples > 36 + 32 + 4
    assert 4 + 8 + 4 <= packed < 32
