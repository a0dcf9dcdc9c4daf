"""Two models' answers to the same prompts against each other, by the fixed judge.

A model's own scores cannot tell whether it got better: it gave them. Here the judge is the same for
every model: exact scores, M0, or a model from outside.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from iterdpo.evaluation.length_control import length_controlled
from iterdpo.evaluation.ratings import Contest
from iterdpo.evaluation.resampling import win_rate_ci
from iterdpo.evaluation.statistics import Estimate, prompts_needed
from iterdpo.evaluation.verifiers import score_answer
from iterdpo.judging.pairwise import Duel
from iterdpo.records import Candidate, Comparison, Policy, Prompt, record_id
from iterdpo.settings import identity
from iterdpo.verifiers.base import Verifier


@dataclass(frozen=True, slots=True)
class HeadToHead:
    """What the comparisons of two models came to. Outcomes are 1 for a win, 1/2 for a tie, 0."""

    prompts: int
    """Prompts with a comparison that could be read."""
    wins: int
    ties: int
    losses: int
    flips: int | None
    """Of the ties, those where the two orders named different winners; None of a judge that is
    shown no order."""
    unscored: int
    """Comparisons that could not be read, of which no number is made."""
    reasons: Mapping[str, int]
    """Why, by ``UnscoredReason``."""
    win_rate: Estimate | None
    """Mean outcome in [0, 1], every prompt weighing the same; None without a comparison."""
    standard_error: float | None
    """Of the win rate, clustered by prompt. None with fewer than two prompts."""
    length_controlled: Estimate | None
    """The win rate at equal length; None without a comparison, and not estimable where the lengths
    do not overlap."""
    prompts_needed: int | None
    """Prompts that would show the difference seen; None where none is seen."""


def duels(answers: Sequence[Candidate], opponents: Sequence[Candidate]) -> tuple[Duel, ...]:
    """Pair the answers of two models by prompt and sample number.

    What only one of them answered, because a prompt was too long, is left out.
    """
    by_place = {(item.prompt_id, item.index): item for item in opponents}
    places = ((item, by_place.get((item.prompt_id, item.index))) for item in answers)
    return tuple((answer, opponent) for answer, opponent in places if opponent is not None)


def head_to_head(
    comparisons: Sequence[Comparison], tokens: Mapping[str, int], ordered: bool = True
) -> HeadToHead:
    """Count what the comparisons of one model with another came to.

    Args:
        comparisons: of one model with one opponent.
        tokens: length of each answer in tokens, by its id.
        ordered: whether the judge was shown the answers in an order; an oracle is not.

    Raises:
        KeyError: a compared answer has no length.
    """
    outcomes = outcomes_by_prompt(comparisons)
    counts = Counter(item.outcome for item in comparisons)
    lengths: defaultdict[str, list[tuple[float, float, float]]] = defaultdict(list)
    for item in comparisons:
        if item.outcome is not None:
            own, other = tokens[item.answer_id], tokens[item.opponent_id]
            lengths[item.prompt_id].append((item.outcome, float(own), float(other)))
    return HeadToHead(
        prompts=len(outcomes),
        wins=counts[1.0],
        ties=counts[0.5],
        losses=counts[0.0],
        flips=sum(item.flipped for item in comparisons) if ordered else None,
        unscored=counts[None],
        reasons=dict(Counter(item.unscored for item in comparisons if item.outcome is None)),
        win_rate=win_rate_ci(outcomes) if outcomes else None,
        standard_error=standard_error(outcomes),
        length_controlled=length_controlled(lengths) if lengths else None,
        prompts_needed=prompts_needed(outcomes, null=0.5) if outcomes else None,
    )


def outcomes_by_prompt(comparisons: Sequence[Comparison]) -> dict[str, tuple[float, ...]]:
    """Return the outcomes that could be read, by prompt id."""
    outcomes: defaultdict[str, list[float]] = defaultdict(list)
    for item in comparisons:
        if item.outcome is not None:
            outcomes[item.prompt_id].append(item.outcome)
    return {prompt: tuple(values) for prompt, values in outcomes.items()}


def standard_error(outcomes: Mapping[str, Sequence[float]]) -> float | None:
    """Return the standard error of the mean of the prompts' means; None with fewer than two."""
    means = [fmean(values) for values in outcomes.values()]
    return stdev(means) / math.sqrt(len(means)) if len(means) > 1 else None


def contests(model: str, opponent: str, comparisons: Sequence[Comparison]) -> Iterator[Contest]:
    """Yield the comparisons that could be read as what a rating of all models is made from."""
    for item in comparisons:
        if item.outcome is not None:
            yield Contest(model, opponent, item.outcome, item.prompt_id)


class OracleArbiter:
    """Compares two answers by their exact scores; equal scores are a tie. Shaped as an arbiter."""

    name = "oracle"
    shard_pairs = 100_000
    streams = True

    def __init__(self, oracle: Verifier) -> None:
        self.oracle = oracle

    @property
    def identity(self) -> Mapping[str, object]:
        return {"arbiter": "oracle", "oracle": identity(self.oracle)}

    def compare(
        self, prompts: Sequence[Prompt], duels: Sequence[Duel], policy: Policy | None
    ) -> Iterator[Comparison]:
        by_id = {prompt.id: prompt for prompt in prompts}
        for answer, opponent in duels:
            prompt = by_id[answer.prompt_id]
            mine, theirs = (
                score_answer(self.oracle, prompt, item.text) for item in (answer, opponent)
            )
            preference = 0.5 if mine == theirs else float(mine > theirs)
            said = f"{mine:g} against {theirs:g}"
            yield Comparison(
                id=record_id("comparison", (answer.id, opponent.id, self.name), 0, said),
                prompt_id=answer.prompt_id,
                answer_id=answer.id,
                opponent_id=opponent.id,
                judge=self.name,
                forward=preference,
                backward=preference,
                raw=(said,),
            )

    def close(self) -> None:
        """Nothing is held."""
