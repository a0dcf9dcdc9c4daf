"""docs/metrics.md explains whatever a run reports: a new number needs a line there."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from iterdpo.engines.canary import CanaryResult
from iterdpo.evaluation.best import Best
from iterdpo.evaluation.calibration import Bin
from iterdpo.evaluation.head_to_head import HeadToHead
from iterdpo.evaluation.health import SIGNS, Alarm
from iterdpo.evaluation.ratings import Rating
from iterdpo.evaluation.report import Agreement, JudgeReport, Quality
from iterdpo.evaluation.statistics import Estimate
from iterdpo.pairing.base import DropReason
from iterdpo.records import UnscoredReason

REFERENCE = Path(__file__).parents[2] / "docs" / "metrics.md"


@pytest.mark.parametrize(
    "reported",
    [Agreement, Best, Bin, CanaryResult, Estimate, HeadToHead, JudgeReport, Quality],
)
def test_every_number_has_its_line(reported: type) -> None:
    text = REFERENCE.read_text("utf-8")
    missing = [
        field.name
        for field in fields(reported)
        if not re.search(rf"[`.]{field.name}(\[\])?`", text)
    ]
    assert missing == []


def test_every_reason_and_alarm_has_its_line() -> None:
    text = REFERENCE.read_text("utf-8")
    names = [*DropReason, *UnscoredReason, *(name for name, _, _ in SIGNS)]
    assert [str(name) for name in names if f"`{name}`" not in text] == []
    assert {field.name for field in fields(Alarm)} >= {"value", "threshold", "message"}
    assert {field.name for field in fields(Rating)} == {"model", "rating", "low", "high"}
