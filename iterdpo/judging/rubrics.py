"""Rubrics: Jinja templates that ask for a judgment of one response to one prompt.

A rubric sees the variables ``prompt``, ``response``, ``reasons`` (whether to ask for a verdict with
its reasons or for the score alone), ``low`` and ``high``.
"""

from __future__ import annotations

from dataclasses import dataclass

from iterdpo.judging.templates import Template


@dataclass(frozen=True)
class Rubric(Template):
    """A template that has been checked. Use ``Rubric.load``."""

    kind = "a rubric"
    folder = "rubrics"
    variables = ("prompt", "response", "reasons", "low", "high")
    needed = ("response",)
    trials = tuple(
        {"prompt": "a prompt", "response": "a response", "reasons": reasons, "low": 0, "high": 5}
        for reasons in (True, False)
    )

    def render(
        self, prompt: str, response: str, *, reasons: bool, low: int = 0, high: int = 5
    ) -> str:
        """Return the text that asks a judge about ``response``, scored from ``low`` to ``high``.

        Raises:
            UserError: the template fails on these values.
        """
        return self._render(prompt=prompt, response=response, reasons=reasons, low=low, high=high)
