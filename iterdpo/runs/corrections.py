"""Win rates corrected by what people said, as label results in a run's directory have them."""

from __future__ import annotations

import json
from dataclasses import dataclass

from iterdpo.errors import UserError
from iterdpo.evaluation.judge_errors import Correction
from iterdpo.evaluation.summary import Address
from iterdpo.runs.directory import Run

RESULT_SUFFIX = ".result.json"
"""Of what ``iterdpo label --import`` writes."""


@dataclass(frozen=True, slots=True)
class CorrectedComparison:
    """A comparison of two models, with the judge's errors told by people's labels."""

    model: str
    opponent: str
    """As people read it, with its baseline."""
    judge: str
    stage: Address
    """The single comparisons that people's labels were held against."""
    correction: Correction


def read_corrections(run: Run) -> tuple[CorrectedComparison, ...]:
    """Return the corrections of all label results in a run's directory that are of its comparisons.

    Those of comparisons that the run no longer has, since it was made again, are left out.

    Raises:
        UserError: a result cannot be read.
    """
    from pydantic import TypeAdapter, ValidationError

    of_all = TypeAdapter(tuple[CorrectedComparison, ...])
    summary = run.summary
    stages = {item.stage for item in (*summary.comparisons, *summary.against_baselines)}
    found: list[CorrectedComparison] = []
    for file in sorted(run.directory.glob(f"*{RESULT_SUFFIX}")):
        try:
            values = json.loads(file.read_text("utf-8"))
            found += of_all.validate_python(values.get("corrected", ()))
        except (OSError, ValueError, AttributeError, ValidationError):
            raise UserError(
                f"{file}: is no label result of this version; write it again with iterdpo label "
                "--import, or move it away"
            ) from None
    return tuple(item for item in found if item.stage in stages)
