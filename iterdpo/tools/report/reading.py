"""What a page needs of a run's records: some columns of them, never every token.

An iteration's answers are tens of thousands of texts with a log-prob a token. A page needs the
length of each and the texts of some, so tables are read column by column.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from iterdpo.evaluation.summary import Address, IterationStages
from iterdpo.models.layout import TRAINING_FILE
from iterdpo.records import FinishReason, Prompt
from iterdpo.runs.directory import Run
from iterdpo.store.tables import RECORDS_FILE

Columns = Mapping[str, list[Any]]
Row = Mapping[str, Any]

_LENGTHS = "token_ids"
_CANDIDATE = ("id", "prompt_id", "index", "text", "finish_reason", "policy", "seed")
_JUDGMENT = (
    "id", "candidate_id", "judge", "score", "unscored_reason", "unscored_raw", "raw",
    "distribution", "mass",
)  # fmt: skip


@dataclass(frozen=True)
class Iteration:
    """The records of one iteration, read when they are asked for."""

    run: Run
    number: int
    """From 1."""

    @property
    def stages(self) -> IterationStages:
        """Where its records lie."""
        return self.run.summary.iterations[self.number - 1].stages

    @cached_property
    def prompts(self) -> Mapping[str, Prompt]:
        """The prompts, by id."""
        return {item.id: item for item in self.run.records(self.stages.prompts, Prompt)}

    @cached_property
    def candidates(self) -> Mapping[str, Row]:
        """The answers, by id, with ``tokens`` (their number) and ``truncated``."""
        lengths = self.lengths()
        return {
            row["id"]: {
                **row,
                "tokens": length,
                "truncated": row["finish_reason"] == FinishReason.LENGTH,
            }
            for row, length in zip(
                self._rows(self.stages.candidates, _CANDIDATE), lengths, strict=True
            )
        }

    @cached_property
    def judgments(self) -> Mapping[str, Row]:
        """The judgments, by the answer's id."""
        return _by("candidate_id", self._rows(self.stages.judgments, _JUDGMENT))

    def scores(self) -> list[float]:
        """The judge's scores of all answers that have one."""
        return [row["score"] for row in self._rows(self.stages.judgments, ("score",))
                if row["score"] is not None]  # fmt: skip

    def lengths(self) -> list[int]:
        """The number of tokens of each answer."""
        import pyarrow.compute
        import pyarrow.parquet

        found: list[int] = []
        with pyarrow.parquet.ParquetFile(self._file(self.stages.candidates)) as file:
            for batch in file.iter_batches(columns=[_LENGTHS]):
                found += pyarrow.compute.list_value_length(batch.column(0)).to_pylist()
        return found

    @cached_property
    def pairs(self) -> Sequence[Row]:
        """The pairs that were kept."""
        names = ("id", "prompt_id", "chosen_id", "rejected_id", "chosen_score", "rejected_score",
                 "policy", "judge")  # fmt: skip
        return list(self._rows(self.stages.pairs, names))

    @cached_property
    def history(self) -> Sequence[Row]:
        """What the training logged, an entry a step; nothing without a training."""
        adapter = self.stages.adapter
        if not adapter:
            return []
        report = json.loads((self.run.directory_of(adapter) / TRAINING_FILE).read_text("utf-8"))
        history: Sequence[Row] = report["history"]
        return history

    @cached_property
    def scale(self) -> tuple[float, float] | None:
        """Lowest and highest score that the judge could give."""
        settings = self.run.manifest(self.stages.judgments).identity["settings"]
        assert isinstance(settings, dict)
        scale: Any = settings.get("scale")
        return (scale[0], scale[1]) if scale else None

    def _rows(self, stage: Address, names: Sequence[str]) -> Iterator[Row]:
        import pyarrow.parquet

        table = pyarrow.parquet.read_table(self._file(stage), columns=list(names))
        columns = [table.column(name).to_pylist() for name in names]
        for values in zip(*columns, strict=True):
            yield dict(zip(names, values, strict=True))

    def _file(self, stage: Address) -> Path:
        return self.run.directory_of(stage) / RECORDS_FILE


def iterations(run: Run) -> list[Iteration]:
    """Return what a run has made so far."""
    return [Iteration(run, made.iteration) for made in run.summary.iterations]


def hydra_file(run: Run, name: str) -> Any:
    """Return what Hydra wrote beside a run (``overrides``, ``hydra``), or None."""
    from omegaconf import OmegaConf

    place = run.directory / ".hydra" / f"{name}.yaml"
    return OmegaConf.load(place) if place.is_file() else None


def _by(name: str, rows: Iterator[Row]) -> dict[str, Row]:
    return {row[name]: row for row in rows}
