"""The pairs of an iteration are measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from iterdpo.evaluation.oracles import OracleScore
from iterdpo.evaluation.pairs import PairQuality, pair_quality
from iterdpo.evaluation.resampling import RESAMPLES, SEED
from iterdpo.stages import names
from iterdpo.stages.base import Candidates, Metrics, Pairs, ValueStage
from iterdpo.stages.oracle_scores import by_candidate
from iterdpo.store.stage import Stored, Work


@dataclass(frozen=True)
class MeasurePairs(ValueStage[PairQuality]):
    """Whether the pairs' labels are right, how wide their margins are, and which side is longer."""

    name = names.PAIR_QUALITY
    kind = PairQuality

    @property
    def settings(self) -> Mapping[str, object]:
        return {"resamples": RESAMPLES, "seed": SEED}

    def compute(
        self,
        work: Work,
        pairs: Pairs,
        candidates: Candidates,
        scores: Stored[tuple[OracleScore, ...]] | None,
    ) -> Metrics:
        """Measure the pairs.

        Args:
            work: where the result goes.
            pairs: of one iteration.
            candidates: what they were made from.
            scores: the oracle's of these; None without one.
        """
        tokens = {item.id: len(item.token_ids) for item in candidates.value}
        gold = by_candidate(scores.value) if scores else None
        self.keep(work, pair_quality(pairs.value.kept, tokens, gold))
        return {"pairs": len(pairs.value.kept)}
