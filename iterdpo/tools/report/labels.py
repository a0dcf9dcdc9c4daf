"""Whether a pair's label is right, where the world has an exact answer, and if not, why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from iterdpo.runtime.formatting import listed, number


@dataclass(frozen=True, slots=True)
class PairLabel:
    """What the oracle says of a pair."""

    verdict: Literal["right", "wrong", "equal"]
    """``wrong``: the rejected answer is the better one. ``equal``: neither is."""
    chosen_score: float
    rejected_score: float
    chosen_missed: tuple[str, ...]
    """The oracle's points that the chosen answer did not earn."""
    rejected_missed: tuple[str, ...]

    @property
    def overlooked(self) -> tuple[str, ...]:
        """The points that only the rejected answer earned."""
        return tuple(point for point in self.chosen_missed if point not in self.rejected_missed)


def lab_label(prompt: str, chosen: str, rejected: str) -> PairLabel | None:
    """Return what the lab's oracle says of a pair, or None for an instruction that is not its."""
    from iterdpo.lab.oracle import POINTS, assess

    try:
        earned = [assess(prompt, answer) for answer in (chosen, rejected)]
    except ValueError:
        return None
    missed = [tuple(name for name in POINTS if not getattr(answer, name)) for answer in earned]
    gap = earned[0].score - earned[1].score
    return PairLabel(
        verdict="right" if gap > 0 else "wrong" if gap < 0 else "equal",
        chosen_score=earned[0].score,
        rejected_score=earned[1].score,
        chosen_missed=missed[0],
        rejected_missed=missed[1],
    )


def why_wrong(label: PairLabel, judged_chosen: float, judged_rejected: float) -> str:
    """Return, in words, how the judge and the oracle disagree on a pair that is labeled wrong."""
    return (
        f"The judge gave the chosen answer {number(judged_chosen)} and the rejected one "
        f"{number(judged_rejected)}; the oracle gives them {label.chosen_score:g} and "
        f"{label.rejected_score:g}. The chosen answer misses {_points(label.chosen_missed)}, the "
        f"rejected one {_points(label.rejected_missed)}."
    )


def overlooked(labels: Iterable[PairLabel]) -> Counter[str]:
    """Count, over wrong labels, the points that only the rejected answer earned."""
    return Counter(
        point for label in labels if label.verdict == "wrong" for point in label.overlooked
    )


def _points(missed: tuple[str, ...]) -> str:
    if not missed:
        return "nothing"
    return f"the point{'' if len(missed) == 1 else 's'} {listed(list(missed))}"
