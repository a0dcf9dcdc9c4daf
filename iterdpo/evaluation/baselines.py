"""M0 at lower temperatures: what a model would gain by becoming surer of itself, learning nothing.

DPO sharpens: it makes likely answers likelier. A trained model has to beat the strongest of these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from iterdpo.evaluation.statistics import Estimate, mean_ci
from iterdpo.records import Candidate


@dataclass(frozen=True, slots=True)
class TemperatureBaseline:
    """M0's answers to the held-out prompts at one lower temperature."""

    temperature: float
    quality: Estimate
    """The oracle's mean score, in its points."""
    strongest: bool
    """Whether no other baseline has a higher quality; the first of equals."""
    response_tokens: float
    """Mean length of the answers."""
    scores_by_prompt: Mapping[str, tuple[float, ...]]
    """Oracle scores by prompt id, for paired comparisons."""


Answered = tuple[float, Sequence[Candidate], Mapping[str, Sequence[float]]]
"""A temperature, the answers at it, and their scores by prompt id."""


def temperature_baselines(answered: Sequence[Answered]) -> tuple[TemperatureBaseline, ...]:
    """Measure each baseline; one without any answer is left out."""
    qualities = [mean_ci(scores) if answers else None for _, answers, scores in answered]
    top = max((item.mean for item in qualities if item), default=None)
    found: list[TemperatureBaseline] = []
    for (temperature, answers, scores), quality in zip(answered, qualities, strict=True):
        if quality is not None:
            first = not any(item.strongest for item in found)
            found.append(
                TemperatureBaseline(
                    temperature=temperature,
                    quality=quality,
                    strongest=first and quality.mean == top,
                    response_tokens=sum(len(item.token_ids) for item in answers) / len(answers),
                    scores_by_prompt={prompt: tuple(own) for prompt, own in scores.items()},
                )
            )
    return tuple(found)


def strongest(baselines: Sequence[TemperatureBaseline]) -> TemperatureBaseline | None:
    """Return the baseline that a trained model has to beat; None where there is none."""
    return next((item for item in baselines if item.strongest), None)
