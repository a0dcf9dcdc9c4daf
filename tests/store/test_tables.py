from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iterdpo.records import (
    Candidate,
    FinishReason,
    Judgment,
    Pair,
    Prompt,
    Scored,
    Unscored,
    UnscoredReason,
    record_id,
)
from iterdpo.store.tables import read_records, write_records

# Parquet holds UTF-8, which has no lone surrogates.
texts = st.text(st.characters(exclude_categories=["Cs"]))


@settings(max_examples=50)
@given(st.lists(st.builds(Prompt, id=texts, text=texts, source=texts), max_size=5))
def test_any_text_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, prompts: Any
) -> None:
    path = tmp_path_factory.mktemp("table") / "records.parquet"
    assert write_records(path, Prompt, prompts) == len(prompts)
    assert read_records(path, Prompt) == prompts


def test_candidates_come_back_with_tokens_and_finish_reason(tmp_path: Path) -> None:
    candidate = Candidate(
        "c", "p", 3, "text", (1, 2), (5,), (-0.25,), FinishReason.LENGTH, "policy", 7
    )
    write_records(tmp_path / "t", Candidate, [candidate])
    (back,) = read_records(tmp_path / "t", Candidate)
    assert back == candidate
    assert isinstance(back.finish_reason, FinishReason)
    assert back.truncated


def test_a_judgment_keeps_its_verdict_scored_or_not(tmp_path: Path) -> None:
    scored = Judgment("j1", "c1", "p", "m", Scored(3.5), (), (0.5, 0.5), 0.9)
    unscored = Judgment(
        "j2", "c2", "p", "m", Unscored(UnscoredReason.OUT_OF_RANGE, "Score: 9"), ("Score: 9",)
    )
    write_records(tmp_path / "t", Judgment, [scored, unscored])
    assert read_records(tmp_path / "t", Judgment) == [scored, unscored]


def test_an_unscored_verdict_is_null_for_any_reader_never_a_number(tmp_path: Path) -> None:
    unscored = Judgment("j", "c", "p", "m", Unscored(UnscoredReason.NO_VERDICT, "hm"))
    write_records(tmp_path / "t", Judgment, [unscored])
    (row,) = pyarrow.parquet.read_table(tmp_path / "t").to_pylist()
    assert row["score"] is None
    assert (row["unscored_reason"], row["unscored_raw"]) == ("no_verdict", "hm")


def test_the_same_records_make_the_same_bytes(tmp_path: Path) -> None:
    pairs = [Pair("i", "p", "c", "r", "q", "good", "bad", 5.0, 1.5, "m", "m")] * 3
    for name in ("a", "b"):
        write_records(tmp_path / name, Pair, pairs)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert math.isclose(read_records(tmp_path / "a", Pair)[0].margin, 3.5)


def test_ids_name_parents_index_and_text() -> None:
    one = record_id("candidate", ("p",), 0, "same")
    assert len(one) == 16
    others = {
        record_id("candidate", ("p",), 1, "same"),
        record_id("candidate", ("q",), 0, "same"),
        record_id("candidate", ("p",), 0, "other"),
        record_id("judgment", ("p",), 0, "same"),
    }
    assert one not in others
    assert len(others) == 4


@pytest.mark.parametrize(("a", "b"), [(("x", "yz"), ("xy", "z")), (("a",), ("a", ""))])
def test_parents_cannot_run_into_each_other(a: tuple[str, ...], b: tuple[str, str]) -> None:
    assert record_id("k", a, 0, "") != record_id("k", b, 0, "")
