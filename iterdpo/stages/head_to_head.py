"""What the comparisons of models came to: of two of them, and of all together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from iterdpo.evaluation.head_to_head import HeadToHead, contests, head_to_head
from iterdpo.evaluation.ratings import Rating, connected_ratings
from iterdpo.evaluation.resampling import FIT_RESAMPLES, RESAMPLES, SEED
from iterdpo.records import Policy
from iterdpo.stages import names
from iterdpo.stages.base import Candidates, Comparisons, Metrics, ValueStage
from iterdpo.store.stage import Stored, Work


@dataclass(frozen=True)
class CountComparisons(ValueStage[HeadToHead]):
    """Wins, ties and losses of one model against another, with and without control for length."""

    ordered: bool
    """Whether whoever compared was shown the answers in an order; an oracle is not."""

    version = 2
    name = names.HEAD_TO_HEAD
    kind = HeadToHead

    @property
    def settings(self) -> Mapping[str, object]:
        return {
            "ordered": self.ordered,
            "resamples": RESAMPLES,
            "fit_resamples": FIT_RESAMPLES,
            "seed": SEED,
        }

    def compute(
        self,
        work: Work,
        comparisons: Comparisons,
        answers: Candidates,
        opponents: Candidates,
    ) -> Metrics:
        tokens = {item.id: len(item.token_ids) for item in (*answers.value, *opponents.value)}
        found = self.keep(work, head_to_head(comparisons.value, tokens, self.ordered))
        return {"wins": found.wins, "ties": found.ties, "losses": found.losses}


@dataclass(frozen=True)
class Rate(ValueStage[tuple[Rating, ...]]):
    """A rating of every model that comparisons connect with M0, which is at 0."""

    name = names.RATINGS
    kind = tuple[Rating, ...]

    @property
    def settings(self) -> Mapping[str, object]:
        return {"resamples": FIT_RESAMPLES, "seed": SEED}

    def compute(
        self,
        work: Work,
        initial: Stored[Policy],
        matches: Sequence[tuple[Stored[Policy], Stored[Policy], Comparisons]],
    ) -> Metrics:
        """Rate the models.

        Args:
            work: where the result goes.
            initial: M0.
            matches: for each two models that met: the one, its opponent, and their comparisons.
        """
        models = [initial.value.name, *(model.value.name for model, _, _ in matches)]
        fought = [
            contest
            for model, opponent, comparisons in matches
            for contest in contests(model.value.name, opponent.value.name, comparisons.value)
        ]
        rated = self.keep(work, connected_ratings(list(dict.fromkeys(models)), fought))
        return {"models": len(rated)}
