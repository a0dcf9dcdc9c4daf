"""Rubrics for judges of pairs: Jinja templates that ask which of two responses is better.

A rubric sees the variables ``prompt``, ``first`` and ``second``, and asks for the digit 1 or 2.
"""

from __future__ import annotations

from dataclasses import dataclass

from iterdpo.judging.templates import Template


@dataclass(frozen=True)
class PairwiseRubric(Template):
    """A template that has been checked. Use ``PairwiseRubric.load``."""

    key: str = "evaluation.arbiter_rubric"

    kind = "a pairwise rubric"
    folder = "rubrics/pairwise"
    variables = ("prompt", "first", "second")
    needed = variables
    trials = ({"prompt": "a prompt", "first": "one response", "second": "another"},)

    def render(self, prompt: str, first: str, second: str) -> str:
        """Return the text that asks a judge which of the two responses is better.

        Raises:
            UserError: the template fails on these values.
        """
        return self._render(prompt=prompt, first=first, second=second)
