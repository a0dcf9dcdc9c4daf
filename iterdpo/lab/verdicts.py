"""How the lab asks for a judgment, and how its judge puts one."""

from __future__ import annotations

import importlib.resources
from functools import cache
from typing import TYPE_CHECKING, Final

from iterdpo.lab.oracle import POINTS, Assessment

if TYPE_CHECKING:
    import jinja2

SCORES: Final = ("0", "1", "2", "3", "4", "5")
"""The answers to a request for the score alone, each one token."""


def judge_message(prompt: str, response: str, *, reasons: bool) -> str:
    """Return the user message that asks for a judgment of ``response``.

    With ``reasons`` the judge is to answer as ``verdict`` does, without them by one of
    ``SCORES``. The text comes from ``iterdpo/judging/rubrics/lab.jinja``.
    """
    return _template().render(prompt=prompt, response=response, reasons=reasons)


def verdict(assessment: Assessment) -> str:
    """Return the verdict with its reasons, such as ``topic yes count no ... Score: 4``."""
    reasons = [f"{point} {'yes' if getattr(assessment, point) else 'no'}" for point in POINTS]
    return f"{' '.join(reasons)} Score: {assessment.score}"


@cache
def _template() -> jinja2.Template:
    import jinja2

    rubrics = importlib.resources.files("iterdpo.judging") / "rubrics"
    source = (rubrics / "lab.jinja").read_text(encoding="utf-8")
    # A prompt for a model, not a page: escaping would change what it reads.
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)  # noqa: S701
    return environment.from_string(source)
