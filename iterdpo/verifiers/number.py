"""An answer that ends in a number, compared with the prompt's reference."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Literal

from iterdpo.config.types import NonNegative
from iterdpo.records import Prompt
from iterdpo.verifiers.base import Verifier
from iterdpo.verifiers.reading import after_announcement, boxed, numbers

Form = Literal["any", "boxed", "announced", "last"]


@dataclass(frozen=True, kw_only=True)
class Number(Verifier):
    r"""1 for an answer whose final number is the reference's, else 0.

    Numbers are read exactly, ``1,234.50``, ``3/4``, ``\frac{3}{4}`` and ``2e3`` alike.
    """

    name: ClassVar[str] = "number"
    version: ClassVar[int] = 1

    form: Form = "any"
    r"""Where the final number stands. ``boxed``: in the last ``\boxed{}``. ``announced``: first
    behind the last ``####``, ``answer:`` or ``answer is``. ``last``: the text's last. ``any``: the
    first of these three that there is."""
    tolerance: NonNegative = 0.0
    """Largest difference from the reference, as a share of it."""

    def knows(self, prompt: Prompt) -> bool:
        return prompt.reference is not None and final_number(prompt.reference) is not None

    def score(self, prompt: Prompt, response: str) -> float:
        right = final_number(prompt.reference or "")
        said = final_number(response, self.form)
        if said is None or right is None:
            return 0.0
        return float(abs(said - right) <= Fraction(self.tolerance) * abs(right))


def final_number(text: str, form: Form = "any") -> Fraction | None:
    """Return the number that a text ends in, as ``Number.form`` says; None without one."""
    box, announced = boxed(text), after_announcement(text)
    if form == "boxed" or (form == "any" and box is not None):
        return _last(box or "")
    if form in ("any", "announced"):
        found = next(numbers(announced or ""), None)
        if found is not None or form == "announced":
            return found
    return _last(text)


def _last(text: str) -> Fraction | None:
    found = None
    for found in numbers(text):  # noqa: B007  # the last one is kept
        pass
    return found
