"""What stages share, and the stage that makes the base model ready."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar

from iterdpo.models.layout import DEQUANTIZED_DIR
from iterdpo.pairing.base import Pairing
from iterdpo.records import Candidate, Comparison, Judgment, Policy, Prompt
from iterdpo.stages import names
from iterdpo.stages.policies import SERVED_AS_THEY_ARE, base_policy
from iterdpo.store.atomic import write_text
from iterdpo.store.hashing import plain
from iterdpo.store.stage import Stored, Work
from iterdpo.store.tables import RECORDS_FILE, read_records, write_records

Record = TypeVar("Record")
Value = TypeVar("Value")
Metrics = Mapping[str, object]

Prompts: TypeAlias = Stored[tuple[Prompt, ...]]
Candidates: TypeAlias = Stored[tuple[Candidate, ...]]
Judgments: TypeAlias = Stored[tuple[Judgment, ...]]
Pairs: TypeAlias = Stored[Pairing]
Comparisons: TypeAlias = Stored[tuple[Comparison, ...]]


class RecordStage(Generic[Record]):
    """A stage whose result is a table of records of one kind."""

    record: type[Record]
    version = 1

    def load(self, directory: Path, *_: object, **__: object) -> tuple[Record, ...]:
        return tuple(read_records(directory / RECORDS_FILE, self.record))

    def keep(self, work: Work, records: Iterable[Record]) -> tuple[Record, ...]:
        """Write the records and return them."""
        kept = tuple(records)
        write_records(work.directory / RECORDS_FILE, self.record, kept)
        return kept


class ValueStage(Generic[Value]):
    """A stage whose result is one typed value, kept as JSON."""

    name: str
    kind: Any
    """The value's type, as pydantic reads it."""
    version = 1

    def load(self, directory: Path, *_: object, **__: object) -> Value:
        from pydantic import TypeAdapter

        value: Value = TypeAdapter(self.kind).validate_json(
            (directory / f"{self.name}.json").read_bytes()
        )
        return value

    def keep(self, work: Work, value: Value) -> Value:
        """Write the value and return it."""
        text = json.dumps(plain(value), indent=1, sort_keys=True)
        write_text(work.directory / f"{self.name}.json", f"{text}\n")
        return value


@dataclass(frozen=True)
class PrepareBase:
    """Quantize the base once and keep its dequantized checkpoint for engines. Yields the bare M0.

    Of a checkpoint that is served as it is, nothing is kept but a record.
    """

    checkpoint: Path
    checkpoint_sha256: str
    quantization: str
    dtype: str
    trust_remote_code: bool

    name = names.BASE
    version = 1

    @property
    def settings(self) -> Mapping[str, str]:
        return {
            "checkpoint": self.checkpoint_sha256,
            "quantization": self.quantization,
            "dtype": self.dtype,
        }

    def compute(self, work: Work) -> Metrics:
        from iterdpo.models.checkpoint import require_finite, save_dequantized

        require_finite(self.checkpoint)
        if self.quantization in SERVED_AS_THEY_ARE:
            write_text(
                work.directory / "base.json", json.dumps(self.settings, sort_keys=True) + "\n"
            )
            return {}
        base = self.load(work.directory).base
        save_dequantized(base, work.directory / DEQUANTIZED_DIR, self.trust_remote_code)
        return {}

    def load(self, directory: Path) -> Policy:
        return base_policy("M0", directory, self.settings, str(self.checkpoint))
