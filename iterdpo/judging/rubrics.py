"""Rubrics: Jinja templates that ask for a judgment of one response to one prompt.

A rubric sees the variables ``prompt``, ``response``, ``reasons`` (whether to ask for a verdict with
its reasons or for the score alone), ``low`` and ``high``; and what is known of the prompt beside
its text: ``reference``, a right answer or none, and ``rubric``, its own criteria, each with a
``text`` and a ``weight``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from iterdpo.conversation import RubricItem
from iterdpo.judging.templates import Template

_FIVE_POINTS: Final = ("additive", "lab")
"""The packaged rubrics, which give 0 to 5 points."""


@dataclass(frozen=True)
class Rubric(Template):
    """A template that has been checked. Use ``Rubric.load``."""

    kind = "a rubric"
    folder = "rubrics"
    variables = ("prompt", "response", "reasons", "low", "high", "reference", "rubric")
    needed = ("response",)
    trials = tuple(
        {
            "prompt": "a prompt",
            "response": "a response",
            "reasons": reasons,
            "low": 0,
            "high": 5,
            "reference": reference,
            "rubric": rubric,
        }
        for reasons in (True, False)
        for reference, rubric in ((None, ()), ("an answer", (RubricItem("a criterion"),)))
    )

    def render(
        self,
        prompt: str,
        response: str,
        *,
        reasons: bool,
        low: int = 0,
        high: int = 5,
        reference: str | None = None,
        rubric: Sequence[RubricItem] = (),
    ) -> str:
        """Return the text that asks a judge about ``response``, scored from ``low`` to ``high``.

        Raises:
            UserError: the template fails on these values.
        """
        return self._render(
            prompt=prompt,
            response=response,
            reasons=reasons,
            low=low,
            high=high,
            reference=reference,
            rubric=rubric,
        )


def scale_problems(low: int, high: int, rubric: str | None = None) -> list[str]:
    """Return what is wrong with the range of a judge's scores, a line each.

    Args:
        low: the lowest score.
        high: the highest.
        rubric: the name of what asks for them, where a rubric does.
    """
    problems = []
    if low >= high:
        problems.append(f"low={low}: must be below high={high}")
    if rubric in _FIVE_POINTS and (low, high) != (0, 5):
        problems.append(
            f"high={high}: the rubric {rubric} gives 0 to 5 points; set low=0 high=5 or bring your "
            "own rubric"
        )
    return problems
