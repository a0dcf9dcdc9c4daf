"""An answer that is to be JSON of a certain form."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar, Final

from iterdpo.config.types import Place
from iterdpo.data.content import read_text
from iterdpo.errors import UserError
from iterdpo.records import Prompt
from iterdpo.settings import CountsElsewhere
from iterdpo.verifiers.base import Verifier


@dataclass(frozen=True, kw_only=True)
class JsonSchema(Verifier):
    """1 for an answer that is JSON and valid by a schema, else 0.

    Schemas are JSON Schema, of any draft that the package ``jsonschema`` knows (the extra
    ``verifiers``); a reference to another place is never fetched.
    """

    name: ClassVar[str] = "json_schema"
    version: ClassVar[int] = 1

    schema: Annotated[Place | None, CountsElsewhere("by what it holds")] = None
    """A file; null: each prompt has its own in its metadata."""
    field: str = "schema"
    """The field of the metadata that holds it, where ``schema`` is null."""
    fenced: bool = True
    """Whether an answer may be one block between lines of three backticks."""

    def __post_init__(self) -> None:
        if importlib.util.find_spec("jsonschema") is None:
            raise ValueError(
                "the verifier json_schema needs the package jsonschema: "
                'pip install "iterdpo[verifiers]"'
            )

    @property
    def content(self) -> Mapping[str, object]:
        return {} if self.schema is None else {"schema": self._own}

    def knows(self, prompt: Prompt) -> bool:
        import jsonschema

        try:
            self._validator(prompt).check_schema(self._schema(prompt))
        except (ValueError, jsonschema.SchemaError):
            return False
        return True

    def score(self, prompt: Prompt, response: str) -> float:
        value = read_json(response, fenced=self.fenced)
        return float(value is not _NO_JSON and self._validator(prompt).is_valid(value))

    def _schema(self, prompt: Prompt) -> Any:
        if self.schema is not None:
            return self._own
        held = prompt.metadata.get(self.field)
        schema = json.loads(held) if isinstance(held, str) else held
        if not isinstance(schema, Mapping | bool):
            raise ValueError(f"{self.field}: is no JSON Schema")
        return schema

    @cached_property
    def _own(self) -> Any:
        assert self.schema is not None
        try:
            return json.loads(read_text(self.schema))
        except (OSError, ValueError) as error:
            said = " ".join(str(error).split())
            raise UserError(f"schema={self.schema}: cannot be read as JSON: {said}") from None

    def _validator(self, prompt: Prompt) -> Any:
        import jsonschema
        import referencing

        schema = self._schema(prompt)
        # An empty registry: what a schema refers to elsewhere is not fetched.
        kind = jsonschema.validators.validator_for(schema)
        return kind(schema, registry=referencing.Registry())


class _NoJson:
    """Stands for a text that is no JSON, as None is the value of ``null``."""


_NO_JSON: Final = _NoJson()


def read_json(text: str, *, fenced: bool) -> Any:
    """Return what a text holds as JSON, or ``_NO_JSON``; NaN and Infinity are none."""
    try:
        return json.loads(_unfenced(text) if fenced else text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return _NO_JSON


def is_json(text: str) -> bool:
    """Tell whether a text is JSON, by itself or as one fenced block."""
    return read_json(text, fenced=True) is not _NO_JSON


def _unfenced(text: str) -> str:
    """Return what stands in a fenced block that is all of a text; any other text as it is."""
    block = text.strip()
    head, _, body = block.partition("\n")
    opens = head.startswith("```") and head[3:].strip().lower() in ("", "json", "jsonc", "json5")
    return body.removesuffix("```") if opens and body.endswith("```") else text


def _refuse(name: str) -> None:
    raise ValueError(name)
