from __future__ import annotations

import hashlib
import math
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iterdpo.store.hashing import (
    canonical_json,
    derive_seed,
    file_sha256,
    files_sha256,
    plain,
    sha256_of,
)


class Color(StrEnum):
    RED = "red"


def test_canonical_json_is_one_text_whatever_the_order() -> None:
    assert canonical_json({"b": [1, 2.5], "a": None}) == '{"a":null,"b":[1,2.5]}'
    assert canonical_json({"a": None, "b": (1, 2.5)}) == '{"a":null,"b":[1,2.5]}'


def test_canonical_json_is_ascii() -> None:
    assert canonical_json("é") == '"\\u00e9"'


def test_enums_and_paths_are_text() -> None:
    assert plain({"color": Color.RED, "path": Path("/a/b")}) == {"color": "red", "path": "/a/b"}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_json_lacks_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="no JSON form"):
        sha256_of({"beta": value})


@pytest.mark.parametrize("value", [{1, 2}, object(), {1: "a"}, b"bytes"])
def test_what_has_no_single_form_is_refused(value: Any) -> None:
    with pytest.raises(TypeError):
        sha256_of(value)


def test_sha256_of_is_the_hash_of_the_canonical_text() -> None:
    assert sha256_of({"a": 1}) == hashlib.sha256(b'{"a":1}').hexdigest()


def test_file_and_directory_hashes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"one")
    (tmp_path / "b").write_bytes(b"two")
    assert file_sha256(tmp_path / "a") == hashlib.sha256(b"one").hexdigest()
    both = files_sha256(tmp_path, [tmp_path / "a", tmp_path / "b"])
    assert both == files_sha256(tmp_path, [tmp_path / "b", tmp_path / "a"])
    (tmp_path / "b").write_bytes(b"three")
    assert both != files_sha256(tmp_path, [tmp_path / "a", tmp_path / "b"])


@given(st.integers(0, 2**31 - 1), st.text(), st.integers(0, 100))
def test_derived_seeds_are_in_range_and_depend_on_every_name(
    root: Any, name: Any, index: Any
) -> None:
    seed = derive_seed(root, name, index)
    assert 0 <= seed < 2**31
    assert seed == derive_seed(root, name, index)
    assert seed != derive_seed(root, name, index + 1)
