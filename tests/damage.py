"""Files as disks, editors and other programs leave them: cut, spliced, with other JSON values."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

PIECES = (
    *(bytes([byte]) for byte in b'{}[]",:\\-\0\xff\n\r\t'),
    b"\\ud800", b"\x1f\x8b", b"\xef\xbb\xbf", b"null", b"NaN", b"Infinity", b"1e999", b"9" * 5000,
    b"[" * 2000, "\u2028\u202e\x1b[31m".encode(),
)  # fmt: skip
"""What readers stumble over."""

STRANGE = (2**70, -1, 10**400, "", "\0", "\ud800", "\n\x1b[31m", "M0", "../x", "0" * 64)
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(STRANGE)
)


def json_values() -> st.SearchStrategy[Any]:
    """Return whatever JSON may say, and a little more."""
    return st.recursive(
        SCALARS,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    )


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """Return bytes of which a part is missing, or is another, once or several times."""
    for _ in range(draw(st.integers(1, 4))):
        begin, end = sorted(draw(st.tuples(*[st.integers(0, len(whole))] * 2)))
        end = draw(st.sampled_from([begin, min(begin + 1, len(whole)), end]))
        put = draw(st.sampled_from(PIECES) | st.binary(max_size=8) | st.just(whole[begin:end]))
        whole = whole[:begin] + put + whole[end:]
    return whole


@st.composite
def changed(draw: st.DrawFn, value: Any) -> Any:
    """Return JSON values of which one, at any depth, is missing or is another."""
    if not isinstance(value, dict | list) or not value or draw(st.integers(0, 5)) == 0:
        return draw(json_values())
    inner = dict(value) if isinstance(value, dict) else dict(enumerate(value))
    at = draw(st.sampled_from(sorted(inner, key=str)))
    if draw(st.integers(0, 5)) == 0:
        del inner[at]
    else:
        inner[at] = draw(changed(inner[at]))
    return inner if isinstance(value, dict) else list(inner.values())


def damaged_json(values: Any) -> st.SearchStrategy[bytes]:
    """Return what may stand in the place of a JSON file."""
    other = changed(values).map(lambda made: json.dumps(made).encode())
    return st.binary(max_size=60) | damaged(json.dumps(values).encode()) | other
