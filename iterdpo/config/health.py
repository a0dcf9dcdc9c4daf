"""When a loop is no longer healthy, and what is to be done about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from iterdpo.config.types import NonNegative, Positive, Share, checked
from iterdpo.settings import CountsElsewhere


@checked
@dataclass(frozen=True, kw_only=True)
class HealthConfig:
    """Limits of what is normal, looked at after every iteration; null switches one off.

    They are rules of thumb: an alarm says where to look, not what is wrong.
    """

    on_alarm: Annotated[
        Literal["warn", "stop", "keep_best"],
        CountsElsewhere("decides what follows an alarm: nothing differs before one"),
    ]
    """``warn``: say so and continue. ``stop``: end the run after that iteration, everything stored.
    ``keep_best``: the next iteration starts from the best model so far: it writes, judges (with
    ``judge.model: current``) and is trained on, the reference ``previous`` is it, and the next
    model's parent is it. The model with the alarm stays in the results."""
    max_tie_rate: Share | None
    """Share of the prospective pairs that the judge scores equal: its scores crowd together."""
    max_length_ratio: Positive | None
    """Mean tokens of chosen over rejected answers: whoever prefers them rewards length."""
    max_length_growth: Positive | None
    """Mean tokens of a model's held-out answers over M0's."""
    min_score_mass: Share | None
    """Mean probability of the score tokens, for ``judge.score: expected``: below it the judge would
    rather say something else."""
    max_mean_score: Share | None
    """Mean score of an iteration's answers, as a share of the way from the lowest to the highest:
    near 1 nothing is left to prefer."""
    max_chosen_fall: NonNegative | None
    """How far training pushes the log-prob of the chosen answers down, in nats a token: the mean of
    its last tenth of steps below that of its first."""
    max_duplicates: Share | None
    """Share of an iteration's answers that repeat another answer to the same prompt. Given answers
    are not looked at: the rows of one prompt may share them."""
    max_unscored: Share | None
    """Share of an iteration's answers without a score."""
    max_unproven_rise: NonNegative | None
    """Rise of the score that a model gives its own held-out answers, in the judge's points, over
    that of the model it came from, when the fixed judge's gain is not above 0 by its 95 % interval:
    the judge is pleased, and nobody else is."""
