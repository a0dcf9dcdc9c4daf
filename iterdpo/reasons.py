"""Why there is no number where a verdict was asked for."""

from __future__ import annotations

from enum import StrEnum


class UnscoredReason(StrEnum):
    """Why a verdict is not a number."""

    NO_VERDICT = "no_verdict"
    """No verdict line was found; or a verifier does not know the prompt."""
    UNREADABLE = "unreadable"
    """The last verdict line holds no number that can be read as a score."""
    OUT_OF_RANGE = "out_of_range"
    """A number was read but lies outside the range."""
    TOO_FEW_READABLE = "too_few_readable"
    """Fewer than the required share of the sampled verdicts could be read."""
    NO_MASS = "no_mass"
    """The score tokens hold too little probability for the expected score to mean anything."""
    CUT_OFF = "cut_off"
    """The verdict reached its token limit, so it would be learned without its end."""
    UNFINISHED_THOUGHT = "unfinished_thought"
    """The candidate is a thought that was never closed: there is no answer to judge."""
    PROMPT_TOO_LONG = "prompt_too_long"
    """The judge's prompt does not fit the model's context."""
    REFUSED = "refused"
    """The judge, or a filter before it, declined to answer."""
    NOT_COMPARED = "not_compared"
    """People judge, and nobody compared this answer with another."""
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    """A verifier raised an error or gave what is no score; or took longer than it may."""
