"""Packed numbers against the tuples that they stand for: alike to everybody, and smaller."""

from __future__ import annotations

import copy
import dataclasses
import math
import pickle
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iterdpo.engines.base import Completion
from iterdpo.records import Base, Candidate, FinishReason, Policy, Prompt
from iterdpo.stages.generate import candidate_of
from iterdpo.store.packed import Packed, packed_floats, packed_ids, packed_lists
from iterdpo.store.tables import read_records, write_records

ids = st.lists(st.integers(-(2**31), 2**31 - 1), max_size=8).map(tuple)
POLICY = Policy("M0", Base("base", "0", "none", "float32", "base"))
places = st.integers(-9, 9)
SPECIAL = (-0.0, math.inf, -math.inf, math.nan, 5e-324, -0.1)


def candidate(ids: tuple[int, ...], logprobs: tuple[float, ...], number: int = 0) -> Candidate:
    return Candidate(
        f"c{number}", "p", number, "text", (1, 2), ids, logprobs, FinishReason.STOP, "m", 7
    )


def packed(one: Candidate) -> Candidate:
    return dataclasses.replace(
        one,
        prompt_token_ids=packed_ids(one.prompt_token_ids),
        token_ids=packed_ids(one.token_ids),
        logprobs=packed_floats(one.logprobs),
    )


@settings(max_examples=100)
@given(ids, ids, st.builds(slice, places, places, st.sampled_from([None, 1, 2, -1])))
def test_it_does_what_the_tuple_does(numbers: Any, others: Any, part: Any) -> None:
    found = packed_ids(numbers)
    assert (list(found), len(found), repr(found)) == (list(numbers), len(numbers), repr(numbers))
    assert all(type(number) is int for number in found)
    assert isinstance(found[part], Packed)
    assert found[part] == numbers[part]
    for other in (others, packed_ids(others)):
        assert (found == other, other == found) == (numbers == others,) * 2
    assert (found == list(numbers)) is False
    assert hash(found) == hash(numbers)
    assert hash(packed_floats((0.5, -1.0))) == hash((0.5, -1.0))
    assert found[0] == numbers[0] if numbers else not found


def test_a_candidate_is_the_same_one_whichever_way_its_numbers_are_held() -> None:
    plain = candidate((5, 6), (-0.25, -1.5))
    assert packed(plain) == plain == packed(plain)
    assert len({plain, packed(plain)}) == 1
    assert repr(packed(plain)) == repr(plain)
    assert packed(plain) != packed(candidate((5, 7), (-0.25, -1.5)))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_a_copy_holds_numbers_of_its_own(copied: Any) -> None:
    numbers = packed_ids((1, 2))
    assert copied(numbers) == numbers
    assert not np.shares_memory(copied(numbers), numbers)


def test_nobody_can_change_them() -> None:
    numbers = packed_ids((1, 2))
    view = np.asarray(numbers)
    assert np.shares_memory(view, np.asarray(numbers))  # where they are, and no copy
    with pytest.raises(ValueError, match="read-only"):
        view[0] = 3
    with pytest.raises(TypeError):
        numbers[0] = 3  # type: ignore[index]


def test_a_number_that_is_no_token_id_is_refused() -> None:
    with pytest.raises(OverflowError):
        packed_ids((2**31,))


def test_packed_or_not_the_file_has_the_same_bytes(tmp_path: Path) -> None:
    plain = [
        candidate((), ()),
        candidate((0, 128_255, 2**31 - 1), SPECIAL[:3]),
        candidate((7,), SPECIAL[3:]),
    ]
    write_records(tmp_path / "plain", Candidate, plain)
    write_records(tmp_path / "packed", Candidate, map(packed, plain))
    write_records(tmp_path / "mixed", Candidate, [packed(plain[0]), plain[1], packed(plain[2])])
    expected = (tmp_path / "plain").read_bytes()
    assert (tmp_path / "packed").read_bytes() == expected
    assert (tmp_path / "mixed").read_bytes() == expected
    write_records(tmp_path / "again", Candidate, read_records(tmp_path / "plain", Candidate))
    assert (tmp_path / "again").read_bytes() == expected


def test_every_bit_of_a_log_prob_comes_back(tmp_path: Path) -> None:
    write_records(tmp_path / "t", Candidate, [packed(candidate((1,) * 6, SPECIAL))])
    (back,) = read_records(tmp_path / "t", Candidate)
    assert struct.pack("6d", *back.logprobs) == struct.pack("6d", *SPECIAL)
    assert all(type(value) is float for value in back.logprobs)


def test_a_part_of_a_column_is_read_where_it_lies() -> None:
    column = pyarrow.array([[1], [2, 3], [], [4]], pyarrow.list_(pyarrow.int32()))
    assert list(packed_lists(column.slice(1, 2))) == [(2, 3), ()]


def test_records_come_back_in_order_however_many_there_are(tmp_path: Path) -> None:
    records = [
        candidate(tuple(range(number % 5)), (-float(number),), number) for number in range(3_000)
    ]
    write_records(tmp_path / "t", Candidate, records)
    assert read_records(tmp_path / "t", Candidate) == records


def completion(tokens: int) -> Completion:
    return Completion(
        request=0, sample=0, text="t", prompt_token_ids=(1,),
        token_ids=tuple(range(100_000, 100_000 + tokens)),
        logprobs=tuple(-1 / (number + 1) for number in range(tokens)),
        finish_reason=FinishReason.STOP, seed=0,
    )  # fmt: skip


def test_an_answer_takes_twelve_bytes_a_token(tmp_path: Path) -> None:
    """4 for the id and 8 for the log-prob; of 1,000, a record's own share is below two."""
    records, tokens, prompt = 100, 1_000, Prompt.of("q", "s")
    tracemalloc.start()
    try:
        made = [candidate_of(completion(tokens), prompt, POLICY) for _ in range(records)]
        written, _ = tracemalloc.get_traced_memory()
        write_records(tmp_path / "t", Candidate, made)
        before, _ = tracemalloc.get_traced_memory()
        back = read_records(tmp_path / "t", Candidate)
        read = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert back == made
    assert 12 <= written / (records * tokens) < 14
    assert 12 <= read / (records * tokens) < 14


def test_a_table_is_never_held_whole_beside_its_records(tmp_path: Path) -> None:
    records, tokens = 16_000, 100
    made = [packed(candidate(tuple(range(tokens)), (-0.5,) * tokens))] * records
    write_records(tmp_path / "t", Candidate, made)
    usual = pyarrow.default_memory_pool()
    pool = pyarrow.proxy_memory_pool(usual)
    pyarrow.set_memory_pool(pool)
    try:
        assert read_records(tmp_path / "t", Candidate) == made
    finally:
        pyarrow.set_memory_pool(usual)
    assert 0 < pool.max_memory() / (records * tokens) < 6  # its columns are 12 bytes a token
