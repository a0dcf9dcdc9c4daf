"""What steps share, and the step that makes the base model ready."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeAlias, TypeVar

from iterdpo.models.layout import ADAPTER_DIR, DEQUANTIZED_DIR, MODEL_DIR, REPORT_FILE
from iterdpo.models.prequantized import PREQUANTIZED
from iterdpo.pairing.base import Pairing
from iterdpo.records import Adapter, Base, Candidate, Comparison, Judgment, Policy, Prompt
from iterdpo.store.atomic import write_text
from iterdpo.store.runner import Stored, Work
from iterdpo.store.tables import read_records, write_records

Record = TypeVar("Record")
Metrics = Mapping[str, object]

Prompts: TypeAlias = Stored[tuple[Prompt, ...]]
Candidates: TypeAlias = Stored[tuple[Candidate, ...]]
Judgments: TypeAlias = Stored[tuple[Judgment, ...]]
Pairs: TypeAlias = Stored[Pairing]
Comparisons: TypeAlias = Stored[tuple[Comparison, ...]]

RECORDS_FILE = "records.parquet"

SERVED_AS_THEY_ARE = ("none", *PREQUANTIZED)
"""Bases of which engines serve the checkpoint itself: training computes with its very weights."""


class RecordStep(Generic[Record]):
    """A step whose result is a table of records of one kind."""

    record: type[Record]
    version = 1

    def load(self, directory: Path, *_: object, **__: object) -> tuple[Record, ...]:
        return tuple(read_records(directory / RECORDS_FILE, self.record))

    def keep(self, work: Work, records: Iterable[Record]) -> tuple[Record, ...]:
        """Write the records and return them."""
        kept = tuple(records)
        write_records(work.directory / RECORDS_FILE, self.record, kept)
        return kept


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

    name = "base"
    version = 1

    @property
    def settings(self) -> Mapping[str, object]:
        return {
            "checkpoint": self.checkpoint_sha256,
            "quantization": self.quantization,
            "dtype": self.dtype,
        }

    def compute(self, work: Work) -> Metrics:
        if self.quantization in SERVED_AS_THEY_ARE:
            write_text(
                work.directory / "base.json", json.dumps(self.settings, sort_keys=True) + "\n"
            )
            return {}
        from iterdpo.models.checkpoint import save_dequantized

        save_dequantized(
            self._base(work.directory), work.directory / DEQUANTIZED_DIR, self.trust_remote_code
        )
        return {}

    def load(self, directory: Path) -> Policy:
        return Policy("M0", self._base(directory))

    def _base(self, directory: Path) -> Base:
        as_it_is = self.quantization in SERVED_AS_THEY_ARE
        image = self.checkpoint if as_it_is else directory / DEQUANTIZED_DIR
        return Base(
            path=str(self.checkpoint),
            sha256=self.checkpoint_sha256,
            quantization=self.quantization,
            dtype=self.dtype,
            dequantized=str(image),
        )


def policy_in(directory: Path, name: str, start: Policy) -> Policy:
    """Return the policy that a training which began at ``start`` left in ``directory``.

    It is an adapter on the same base, or, where every weight was trained, a base of its own.
    """
    report = json.loads((directory / REPORT_FILE).read_text("utf-8"))
    if "adapter_sha256" in report:
        adapter = Adapter(str(directory / ADAPTER_DIR), report["adapter_sha256"])
        return Policy(name, start.base, adapter, parent=start.fingerprint)
    model = str(directory / MODEL_DIR)
    base = replace(start.base, path=model, dequantized=model, sha256=report["weights_sha256"])
    return Policy(name, base, parent=start.fingerprint)
