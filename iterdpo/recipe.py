"""The steps that one run is made of, put together by ``assemble``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from iterdpo.errors import NoPairsError, UserError
from iterdpo.pairing.base import Pairing
from iterdpo.records import Judgment, Unscored
from iterdpo.steps.base import PrepareBase
from iterdpo.steps.learning import BuildPairs, JudgeCandidates, Train
from iterdpo.steps.measuring import Measure
from iterdpo.steps.writing import Generate, SelectPrompts
from iterdpo.store.stages import Stored


@dataclass(frozen=True)
class Recipe:
    """The steps, and the two choices between policies that the loop makes."""

    base: PrepareBase
    select: SelectPrompts
    held_out: SelectPrompts
    labelled: SelectPrompts
    generate: Generate
    answer: Generate
    answer_greedily: Generate
    answer_fixed: Generate
    judge: JudgeCandidates
    judge_measured: JudgeCandidates
    """The same judge, kept apart from what the loop learns from."""
    build_pairs: BuildPairs
    train: Train
    measure: Measure
    judge_model: Literal["current", "initial"]
    reference: Literal["previous", "initial", "base"]
    on_empty: Literal["stop", "skip"]
    min_scored: float
    """Share of an iteration's answers, in [0, 1], that must get a score."""

    def require_scored(self, iteration: int, judgments: Stored[tuple[Judgment, ...]]) -> None:
        """Raise ``UserError`` when the judge could not be read too often."""
        verdicts = [item.verdict for item in judgments.value]
        unscored = Counter(item.reason.value for item in verdicts if isinstance(item, Unscored))
        missing = unscored.total()
        if len(verdicts) - missing >= self.min_scored * len(verdicts):
            return
        reasons = ", ".join(f"{count} {reason}" for reason, count in unscored.most_common())
        raise UserError(
            f"iteration {iteration}: {missing} of {len(verdicts)} answers got no score "
            f"({reasons}); see their raw verdicts in the judgments stage, try another rubric or "
            f"judge.score, or lower judge.min_scored={self.min_scored}"
        )

    def require_pairs(
        self,
        iteration: int,
        pairs: Stored[Pairing],
        judgments: Stored[tuple[Judgment, ...]],
    ) -> None:
        """Raise ``NoPairsError`` when an iteration has no pair and the recipe says to stop."""
        if pairs.value.kept or self.on_empty == "skip":
            return
        dropped = ", ".join(f"{n} {reason}" for reason, n in pairs.value.dropped.items() if n)
        raise NoPairsError(
            f"iteration {iteration}: no preference pair was left ({dropped}); scores: "
            f"{histogram([item.score for item in judgments.value])}; lower pairs.min_margin, raise "
            "candidates.n or candidates.temperature, or set pairs.on_empty=skip"
        )


def histogram(scores: Sequence[float | None]) -> str:
    """Return the number of scores by rounded value, such as ``3: 12, 4: 80, unscored: 2``."""
    counts: dict[str, int] = {}
    for score in sorted(score for score in scores if score is not None):
        counts[f"{score:.0f}"] = counts.get(f"{score:.0f}", 0) + 1
    unscored = sum(score is None for score in scores)
    parts = [f"{value}: {count}" for value, count in counts.items()]
    return ", ".join(parts + [f"unscored: {unscored}"] * bool(unscored)) or "none"
