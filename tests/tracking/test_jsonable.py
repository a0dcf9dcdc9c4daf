"""Values as trackers can hold them, and what they must never hold."""

from pathlib import Path

import pytest

from iterdpo.tracking.jsonable import cell, clipped, plain, without_logins, without_secrets


def test_plain_values() -> None:
    value = {1: Path("a/b"), "t": (1, 2.5, None, True), "s": {"x"}, "b": b"x"}
    assert plain(value) == {"1": "a/b", "t": [1, 2.5, None, True], "s": ["x"], "b": "b'x'"}
    assert cell({"a": "é"}) == '{"a": "é"}'
    assert [cell(item) for item in (1, 2.5, "x", None, True)] == [1, 2.5, "x", None, True]
    assert cell("a\x1b[31m\r\n\tb\u202e") == "a\\x1b[31m\\r\n\tb\\u202e"
    assert cell({"a": "\x9b"}) == '{"a": "\\x9b"}'


def test_secrets_are_hidden_and_nothing_else() -> None:
    config = {
        "token": "a", "HF_TOKEN": "b", "api_key": "c", "endpoints": [{"password": "d"}],
        "max_tokens": 8, "tokenizer": "e", "secret": None, "judge": {"keyword": "f"},
    }  # fmt: skip
    assert without_secrets(config) == {
        "token": "(hidden)", "HF_TOKEN": "(hidden)", "api_key": "(hidden)",
        "endpoints": [{"password": "(hidden)"}], "max_tokens": 8, "tokenizer": "e",
        "secret": None, "judge": {"keyword": "f"},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://me:pw@host/x?a=b@c", "https://(hidden)@host/x?a=b@c"),
        ("git+ssh://git@host/x and s3://k:s@b", "git+ssh://(hidden)@host/x and s3://(hidden)@b"),
        ("https://host/a@b", "https://host/a@b"),
        ("me@host", "me@host"),
    ],
)
def test_logins_in_addresses_are_hidden_and_nothing_else(text: str, expected: str) -> None:
    assert without_logins(text) == expected
    assert without_secrets({"a": [{"b": text}]}) == {"a": [{"b": expected}]}


def test_long_texts_say_that_they_go_on() -> None:
    assert clipped("abcd", 4) == "abcd"
    assert clipped("abcde", 4) == "abc…"
