"""Answers that are to be JSON of a form."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from iterdpo.records import Prompt
from iterdpo.settings import identity
from iterdpo.verifiers.json_schema import JsonSchema, is_json

SCHEMA: Any = {
    "type": "object",
    "properties": {"age": {"type": "integer", "minimum": 0}},
    "required": ["age"],
}
PROMPT = Prompt.of("How old?", "t", metadata={"schema": SCHEMA})


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ('{"a": [1, null]}', True),
        ("null", True),
        ('```json\n{"a": 1}\n```', True),
        ('```\n{"a": 1}\n```\n', True),
        ('Here: {"a": 1}', False),
        ('```json\n{"a": 1}\n``` as asked', False),
        ("NaN", False),
        ("[" * 100_000, False),
        ("1" * 5000, False),  # more digits than Python reads
        ("", False),
    ],
)
def test_what_is_json(text: str, good: bool) -> None:
    assert is_json(text) == good


def test_answers_are_valid_by_the_schema_of_their_prompt_or_of_a_file(tmp_path: Path) -> None:
    pytest.importorskip("jsonschema", reason="comes with the extra verifiers")
    own = JsonSchema()
    answers = ['{"age": 3}', '```json\n{"age": 3}\n```', '{"age": -1}', "{}", "3", "three"]
    assert [own.score(PROMPT, text) for text in answers] == [1, 1, 0, 0, 0, 0]
    assert JsonSchema(fenced=False).score(PROMPT, answers[1]) == 0
    file = tmp_path / "schema.json"
    file.write_text('{"type": "integer"}')
    of_file = JsonSchema(schema=file)
    assert [of_file.score(PROMPT, text) for text in ("3", "{}")] == [1, 0]
    before = identity(of_file)
    file.write_text('{"type": "string"}')
    assert identity(JsonSchema(schema=file)) != before
    assert str(tmp_path) not in repr(before)


@pytest.mark.parametrize("schema", [None, 5, "{", {"type": "no such type"}])
def test_a_prompt_without_a_schema_is_not_known(schema: object) -> None:
    pytest.importorskip("jsonschema", reason="comes with the extra verifiers")
    assert JsonSchema().knows(PROMPT)
    assert not JsonSchema().knows(Prompt.of("?", "t", metadata={"schema": schema}))


def test_what_a_schema_refers_to_elsewhere_is_not_fetched() -> None:
    pytest.importorskip("jsonschema", reason="comes with the extra verifiers")
    elsewhere = Prompt.of("?", "t", metadata={"schema": {"$ref": "http://127.0.0.1:9/s.json"}})
    with pytest.raises(Exception, match="Unresolvable"):
        JsonSchema().score(elsewhere, "1")


def test_the_package_that_it_needs_is_named_at_the_door(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r'pip install "iterdpo\[verifiers\]"'):
        JsonSchema()
