"""Signs that a loop which judges itself goes wrong: pure functions of what was measured.

Self-rewarding fails quietly: scores crowd at the top until every pair is a tie, the judge falls for
length, or it is ever more pleased while the fixed judge sees nothing (CREAM, arXiv
2410.12735; Temporal Self-Rewarding, arXiv 2508.06026). Each sign is one number with one limit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from iterdpo.config.health import HealthConfig
from iterdpo.evaluation.best import Best


@dataclass(frozen=True, slots=True)
class HealthMetrics:
    """What is looked at, of one model and the iteration that made it. None where it is not known:
    M0 has no iteration, and some judges have no mass.
    """

    iteration: int
    model: str
    response_tokens: float
    """Mean length of its held-out answers."""
    judged_mean: float | None
    """Mean score of its held-out answers, by itself or by a judge that is no policy."""
    parent: str | None = None
    """Name of the model that the iteration started from."""
    fixed_gain: float | None = None
    """Gain over ``parent`` by the fixed judge: the oracle's points, or the win rate less one
    half."""
    fixed_gain_low: float | None = None
    """Lower end of its 95 % interval."""
    tie_rate: float | None = None
    """Share of the prospective pairs, in [0, 1]."""
    length_ratio: float | None = None
    """Mean tokens of chosen over rejected answers."""
    score_mass: float | None = None
    """Mean probability of the score tokens, in [0, 1]."""
    mean_score: float | None = None
    """Mean score of the iteration's answers: 0 the lowest there is, 1 the highest."""
    chosen_fall: float | None = None
    """Fall of the chosen answers' log-prob in training, in nats a token; below 0 it rose."""
    duplicates: float | None = None
    """Share of the iteration's answers, in [0, 1]; None of offline pairs."""
    unscored: float | None = None
    """Share of the iteration's answers, in [0, 1]."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """A sign beyond its limit."""

    iteration: int
    name: str
    """Of the setting that holds the limit, without ``health.``."""
    value: float
    threshold: float
    message: str
    """One line: what was seen, the limit, and what it can mean."""


@dataclass(frozen=True, slots=True)
class Health:
    """What one check found."""

    metrics: HealthMetrics
    alarms: tuple[Alarm, ...]
    best: Best
    """Of all models so far."""


def alarms(history: Sequence[HealthMetrics], thresholds: HealthConfig) -> tuple[Alarm, ...]:
    """Return the alarms of the last model in ``history``.

    Args:
        history: every model so far, in the order in which they were made, M0 first.
        thresholds: the limits.
    """
    now = history[-1]
    found = []
    for name, sign, said in SIGNS:
        limit: float | None = getattr(thresholds, name)
        value = sign(history)
        if limit is None or value is None:
            continue
        if value < limit if name.startswith("min_") else value > limit:
            message = f"{now.model}: {said.format(value=value)} (health.{name}={limit:g})"
            found.append(Alarm(now.iteration, name, value, limit, message))
    return tuple(found)


def length_growth(history: Sequence[HealthMetrics]) -> float | None:
    """Return the last model's answer length over the first one's; None for the first."""
    first = history[0].response_tokens
    return history[-1].response_tokens / first if first and len(history) > 1 else None


def unproven_rise(history: Sequence[HealthMetrics]) -> float | None:
    """Return by how much a model's answers are judged better than its parent's were.

    By each model itself, or by whoever judges in their place. None where the fixed judge sees a
    gain too, where there is no such judge, and for a model without a parent.
    """
    now = history[-1]
    before = next((item for item in history if item.model == now.parent), None)
    if before is None or now.judged_mean is None or before.judged_mean is None:
        return None
    if now.fixed_gain is None:
        return None
    proven = now.fixed_gain_low is not None and now.fixed_gain_low > 0
    return None if proven else now.judged_mean - before.judged_mean


Sign = Callable[[Sequence[HealthMetrics]], float | None]

SIGNS: tuple[tuple[str, Sign, str], ...] = (
    (
        "max_tie_rate",
        lambda history: history[-1].tie_rate,
        "{value:.0%} of its pairs were ties: the judge's scores crowd together",
    ),
    (
        "max_length_ratio",
        lambda history: history[-1].length_ratio,
        "chosen answers are {value:.2f} times as long as rejected ones: length is rewarded",
    ),
    (
        "max_length_growth",
        length_growth,
        "answers are {value:.2f} times as long as M0's",
    ),
    (
        "min_score_mass",
        lambda history: history[-1].score_mass,
        "the judge puts {value:.2f} of its probability on scores: it would rather say else",
    ),
    (
        "max_mean_score",
        lambda history: history[-1].mean_score,
        "scores stand at {value:.0%} of the way to the highest: little is left to prefer",
    ),
    (
        "max_chosen_fall",
        lambda history: history[-1].chosen_fall,
        "training pushed chosen answers down by {value:.2f} nats a token: a higher training.beta "
        "or sft in training.loss holds them",
    ),
    (
        "max_duplicates",
        lambda history: history[-1].duplicates,
        "{value:.0%} of the answers repeat another to the same prompt: raise the temperature",
    ),
    (
        "max_unscored",
        lambda history: history[-1].unscored,
        "{value:.0%} of the answers got no score: see judgments.reasons in the summary",
    ),
    (
        "max_unproven_rise",
        unproven_rise,
        "its answers are judged {value:+.2f} points better, and the fixed judge sees no gain",
    ),
)
"""Each limit's name, the sign it is for, and what to say of it."""


def chosen_fall(history: Sequence[Mapping[str, float]], tokens: float) -> float | None:
    """Return how far a training pushed the chosen answers' log-prob down, in nats a token.

    Args:
        history: of the training, an entry a step with ``logps/chosen``, the batch's mean log-prob
            of a whole chosen answer in nats. The first and the last tenth of the steps are averaged
            (at least one step each), as batches differ.
        tokens: mean length of the chosen answers.

    Returns:
        The fall; below 0 it rose. None with fewer than two steps or without tokens.
    """
    values = [entry["logps/chosen"] for entry in history if "logps/chosen" in entry]
    if len(values) < 2 or not tokens:
        return None
    tenth = max(1, len(values) // 10)
    return (fmean(values[:tenth]) - fmean(values[-tenth:])) / tokens
