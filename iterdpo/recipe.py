"""The stages that one run is made of, put together by ``assemble``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from iterdpo.errors import NoPairsError, UserError
from iterdpo.evaluation.verifiers import require_known
from iterdpo.pairing.base import Pairing
from iterdpo.records import Candidate, Judgment, Policy, Prompt, Unscored
from iterdpo.stages.base import Candidates, Judgments, Pairs, PrepareBase, Prompts
from iterdpo.stages.compare import Compare
from iterdpo.stages.evaluate import EvaluatePolicy
from iterdpo.stages.gains import MeasureAgreement, MeasureBaselines, MeasureGains
from iterdpo.stages.generate import Generate
from iterdpo.stages.head_to_head import CountComparisons, Rate
from iterdpo.stages.health import CheckHealth
from iterdpo.stages.judge import JudgeCandidates
from iterdpo.stages.oracle_scores import ScoreByOracle
from iterdpo.stages.pair_quality import MeasurePairs
from iterdpo.stages.self_instruct import SelfInstruct
from iterdpo.stages.sft import SupervisedFineTuning
from iterdpo.store.runner import Stages
from iterdpo.store.stage import Stage, Stored


@dataclass(frozen=True)
class Recipe:
    """The stages, and the two choices between policies that the loop makes.

    A field's type says what its stage is given and what comes out, so that a type checker refuses a
    wrong wire in the loop. A class is named where more than that is used of it.
    """

    base: PrepareBase
    select: Stage[[int], tuple[Prompt, ...]] | SelfInstruct
    """An iteration's prompts: given, or written by M0."""
    held_out: Stage[[], tuple[Prompt, ...]]
    reference_prompts: Stage[[], tuple[Prompt, ...]]
    generate: Stage[[Prompts, Stored[Policy]], tuple[Candidate, ...]]
    answer: Stage[[Prompts, Stored[Policy]], tuple[Candidate, ...]]
    answer_greedily: Stage[[Prompts, Stored[Policy]], tuple[Candidate, ...]]
    answer_reference: Stage[[Prompts, Stored[Policy]], tuple[Candidate, ...]]
    judge: Stage[[Prompts, Candidates, Stored[Policy]], tuple[Judgment, ...]]
    judge_measured: JudgeCandidates
    """The same judge, kept apart from what the loop learns from; of given pairs, the only one."""
    build_pairs: Stage[[Prompts, Candidates, Judgments], Pairing]
    tune: SupervisedFineTuning | None
    """None where M0 is the base itself."""
    merge: Stage[[Stored[Policy]], Policy] | None
    """None where what ``tune`` makes stays an adapter."""
    train: Stage[[int, Stored[Policy], Stored[Policy], Pairs, Candidates], Policy]
    """Of the iteration's number, the policy to start from, and the reference."""
    evaluate: EvaluatePolicy
    score: ScoreByOracle | None
    """None without an oracle."""
    compare: Compare | None
    """None where nothing compares two models."""
    count_comparisons: CountComparisons
    rate: Rate
    measure_pairs: MeasurePairs
    measure_baselines: MeasureBaselines
    measure_gains: MeasureGains
    measure_agreement: MeasureAgreement
    baselines: tuple[Generate, ...]
    """M0 at lower temperatures, beside its answers at the candidates' settings. None where nobody
    would compare them."""
    check: CheckHealth
    arbiter: Literal["oracle", "initial", "external", "none"]
    """Who compares: exact scores, M0, another checkpoint, nobody."""
    on_alarm: Literal["warn", "stop", "keep_best"]
    judge_model: Literal["current", "initial"]
    reference: Literal["previous", "initial", "base"]
    on_empty: Literal["stop", "skip"]
    min_scored: float
    """Share of an iteration's answers, in [0, 1], that must get a score."""

    def initialize(self, stages: Stages) -> tuple[Stored[Policy], Stored[Policy]]:
        """Return the bare base and M0, which are the same without supervised fine-tuning.

        What is merged into the base is the base of everything that follows.
        """
        base = stages.run(self.base)
        if self.tune is None:
            return base, base
        tuned = stages.run(self.tune, base)
        if self.tune.exemplify is not None:
            # Who has learned the instructions writes judgments, and the base learns both anew.
            examples = stages.run(self.tune.exemplify, tuned)
            tuned = stages.run(self.tune, base, examples)
        if self.merge is None:
            return base, tuned
        merged = stages.run(self.merge, tuned)
        return merged, merged

    def select_prompts(
        self, stages: Stages, iteration: int, initial: Stored[Policy], earlier: Sequence[Prompts]
    ) -> Prompts:
        """Return an iteration's prompts.

        Args:
            stages: runs what selects them.
            iteration: from 1.
            initial: M0, who writes them where they are not given.
            earlier: the prompts of the iterations before, which it does not write again.
        """
        if isinstance(self.select, SelfInstruct):
            return stages.run(self.select, iteration, initial, *earlier)
        return stages.run(self.select, iteration)

    def close_arbiter(self) -> None:
        """Give back what only comparing needs, until the next comparison."""
        if self.compare is not None:
            self.compare.arbiter.close()

    def require_known(self, prompts: Sequence[Prompt]) -> None:
        """Raise ``UserError`` when the oracle cannot score answers to one of the prompts."""
        if self.score is not None:
            for prompt in prompts:
                require_known(self.score.oracle, prompt)

    def require_scored(self, iteration: int, judgments: Judgments) -> None:
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

    def require_pairs(self, iteration: int, pairs: Pairs, judgments: Judgments) -> None:
        """Raise ``NoPairsError`` when an iteration has no pair and the recipe says to stop."""
        if pairs.value.kept or self.on_empty == "skip":
            return
        if not judgments.value:
            raise NoPairsError(
                f"iteration {iteration}: no prompt was answered, since none fits the model's "
                "context with an answer of candidates.max_tokens behind it; lower "
                "candidates.max_tokens, raise model.context, or give shorter prompts"
            )
        dropped = ", ".join(f"{n} {reason}" for reason, n in pairs.value.dropped.items() if n)
        raise NoPairsError(
            f"iteration {iteration}: no preference pair was left ({dropped}); scores: "
            f"{histogram([item.score for item in judgments.value])}; lower pairs.min_margin, raise "
            "candidates.n or candidates.temperature, or set pairs.on_empty=skip"
        )


def histogram(scores: Sequence[float | None]) -> str:
    """Return how many scores there are of each rounded value: ``3: 12, 4: 80, unscored: 2``.

    Scores that lie closer together than one point, or further apart than ten, are those of a judge
    with a scale of its own: they come in eight ranges of equal width, ``-2.5 to -1.25: 7``.
    """
    known = sorted(score for score in scores if score is not None)
    spread = known[-1] - known[0] if known else 0.0
    if spread == 0 or 1 <= spread <= 10:
        counts = Counter(str(round(score)) for score in known)
    else:
        width = spread / 8
        places = (min(int((score - known[0]) / width), 7) for score in known)
        starts = [known[0] + place * width for place in places]
        counts = Counter(f"{start:.3g} to {start + width:.3g}" for start in starts)
    unscored = sum(score is None for score in scores)
    parts = [f"{value}: {count}" for value, count in counts.items()]
    return ", ".join(parts + [f"unscored: {unscored}"] * bool(unscored)) or "none"
