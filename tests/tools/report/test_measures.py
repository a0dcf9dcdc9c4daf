"""What the runs of a comparison are measured by, where no oracle scores them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from iterdpo.evaluation.head_to_head import head_to_head
from iterdpo.records import Comparison
from iterdpo.runs.directory import Run
from iterdpo.tools.report.measures import AGAINST_M0
from tests import summaries
from tests.narrowing import present


def compared(number: int, forward: float | None, backward: float | None) -> Comparison:
    return Comparison(f"c{number}", f"p{number}", "a", "b", "j", forward, backward)


def test_a_win_rate_is_the_one_that_the_run_itself_reports() -> None:
    # A sure win, a narrow one, a narrow loss, orders that disagree, and one that was not read.
    said = (compared(0, 1.0, 0.9), compared(1, 0.55, 0.6), compared(2, 0.4, 0.45),
            compared(3, 0.9, 0.3), compared(4, None, 0.5))  # fmt: skip
    models = [summaries.model(0), summaries.model(1)]
    summary = summaries.summary(models, comparisons=(summaries.comparison(),))
    run = SimpleNamespace(models=models, summary=summary, records=lambda stage, kind: said)
    scores = AGAINST_M0.scores(cast("Run", run), models[1])
    assert scores == {"p0": [1.0], "p1": [1.0], "p2": [0.0], "p3": [0.5]}
    rate = present(head_to_head(said, {"a": 1, "b": 1}).win_rate)
    assert sum(map(sum, scores.values())) / 4 == pytest.approx(rate.mean)
