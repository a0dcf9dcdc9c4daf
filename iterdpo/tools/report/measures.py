"""What the runs of a comparison are measured by, and which of their models is compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from iterdpo.errors import UserError
from iterdpo.evaluation.summary import ModelSummary
from iterdpo.records import Comparison
from iterdpo.runs.directory import Run
from iterdpo.runtime.formatting import listed
from iterdpo.tools.report.run_page import finished
from iterdpo.tools.report.settings import flat
from iterdpo.tools.report.sweep import Member


@dataclass(frozen=True)
class Measure:
    """What runs are compared by, and the scores by prompt of a run's model."""

    name: str
    digits: int
    explained: str
    share: bool = False
    """Whether its values are shares in [0, 1], whose mean has the interval of a win rate."""

    def scores(self, run: Run, model: ModelSummary) -> Mapping[str, Sequence[float]]:
        """Return the values of ``model`` by held-out prompt; none where it was not measured."""
        if self is QUALITY:
            return model.evaluation.sampled_by_prompt
        met = run.summary.comparison(model.name, run.models[0].name)
        return _outcomes(run, met.stage) if met else {}


QUALITY = Measure("quality", 3, "Quality: mean score by the oracle, on held-out prompts.")
AGAINST_M0 = Measure(
    "win rate against M0", 3, "How often the answer is preferred to M0's, ties counting one half.",
    share=True,
)  # fmt: skip


def compared_models(runs: Sequence[Run]) -> tuple[list[tuple[int, ModelSummary]], list[str]]:
    """Return the model of each run that is compared, by the run's place, and what to know of it.

    The last of each run. A run that is not at its end is left out where others are.
    """
    done = [index for index, run in enumerate(runs) if ended(run)]
    if not done:
        level = min(len(run.models) for run in runs)
        said = f"No run is at its end; compared at M{level - 1}, which all have."
        return [(index, run.models[level - 1]) for index, run in enumerate(runs)], [said]
    unfinished = [run.name for index, run in enumerate(runs) if index not in done]
    notes = [f"Not at their end, and so not compared: {listed(unfinished)}."] if unfinished else []
    return [(index, runs[index].models[-1]) for index in done], notes


def ended(run: Run) -> bool:
    """Say whether a run will measure no further model."""
    return finished(run) or run.summary.stopped is not None


def members(
    runs: Sequence[Run], chosen: Sequence[tuple[int, ModelSummary]]
) -> tuple[Measure, list[Member]]:
    """Return the first measure that any of the chosen models has, and the runs that have it."""
    for measure in (QUALITY, AGAINST_M0):
        found = []
        for index, model in chosen:
            try:
                scores = measure.scores(runs[index], model)
            except UserError:
                continue
            if scores:
                values = flat(runs[index].values)
                tokens = model.evaluation.response_tokens
                found.append(Member(index, values, scores, tokens, measure.share))
        if found:
            return measure, found
    return QUALITY, []


def _outcomes(run: Run, stage: str) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for comparison in run.records(stage, Comparison):
        if comparison.outcome is not None:
            found.setdefault(comparison.prompt_id, []).append(comparison.outcome)
    return found
