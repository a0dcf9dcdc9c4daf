"""How the lab asks for a judgment, and how its judge puts one."""

from __future__ import annotations

from functools import cache
from typing import Final

from iterdpo.judging.rubrics import Rubric
from iterdpo.lab.oracle import POINTS, Assessment

SCORES: Final = ("0", "1", "2", "3", "4", "5")
"""The answers to a request for the score alone, each one token."""


def judge_message(prompt: str, response: str, *, reasons: bool) -> str:
    """Return the user message that asks for a judgment of ``response``.

    With ``reasons`` the judge is to answer as ``verdict`` does, without them by one of
    ``SCORES``. The text comes from ``iterdpo/judging/rubrics/lab.jinja``.
    """
    return _rubric().render(prompt, response, reasons=reasons, low=0, high=5)


def verdict(assessment: Assessment) -> str:
    """Return the verdict with its reasons, such as ``topic yes count no ... Score: 4``."""
    reasons = [f"{point} {'yes' if getattr(assessment, point) else 'no'}" for point in POINTS]
    return f"{' '.join(reasons)} Score: {assessment.score}"


@cache
def _rubric() -> Rubric:
    return Rubric.load("lab")
