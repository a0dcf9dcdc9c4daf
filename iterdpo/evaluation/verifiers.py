"""A verifier as the oracle of the evaluation. The loop never sees it: it only measures."""

from __future__ import annotations

import math
import sys
from numbers import Real

from iterdpo.data.values import excerpt
from iterdpo.errors import UserError, described
from iterdpo.records import Prompt
from iterdpo.verifiers.base import Verifier


def require_known(verifier: Verifier, prompt: Prompt) -> None:
    """Raise ``UserError`` when ``verifier`` cannot score answers to a prompt."""
    if not verifier.knows(prompt):
        raise UserError(
            f"evaluation.oracle: {type(verifier).__name__} scores no answers to "
            f"{excerpt(prompt.text)} ({prompt.source}); choose prompts that it knows, or "
            "evaluation=judge"
        )


def score_answer(verifier: Verifier, prompt: Prompt, response: str) -> float:
    """Return what ``verifier`` says of an answer, having checked that it is a score.

    Raises:
        UserError: it does not know the prompt, raises an error, or says something else.
    """
    require_known(verifier, prompt)
    kind = type(verifier).__name__
    try:
        score: object = verifier.score(prompt, response)
    except Exception as error:  # whatever a class raises, a time limit included
        file = getattr(sys.modules.get(type(verifier).__module__), "__file__", None)
        said = f"evaluation.oracle: {kind}: {excerpt(response)}: {described(error, file)}"
        raise UserError(said) from error
    value = float(score) if isinstance(score, Real) else math.nan
    if not 0 <= value <= verifier.perfect:
        raise UserError(
            f"evaluation.oracle: {kind} gives {excerpt(response)} a score of {score!r}; a score is "
            f"a number from 0 to its perfect={verifier.perfect:g}"
        )
    return value
