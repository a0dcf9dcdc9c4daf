"""Two models' answers to the held-out prompts are compared, two by two."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from iterdpo.engines.base import Engine
from iterdpo.engines.usage import Meter
from iterdpo.evaluation.head_to_head import duels
from iterdpo.judging.pairwise import Arbiter, Duel
from iterdpo.records import Candidate, Comparison, Policy, Prompt
from iterdpo.runtime.progress import progress
from iterdpo.stages import names
from iterdpo.stages.base import Metrics, RecordStage
from iterdpo.store.shards import compute_in_shards
from iterdpo.store.stage import Stored, Work


@dataclass(frozen=True)
class Compare(RecordStage[Comparison]):
    """What an arbiter says of a model's answers against an opponent's. Nothing is written anew."""

    arbiter: Arbiter
    engine: Engine
    """What the arbiter runs on, to count its tokens."""

    name = names.COMPARISONS
    record = Comparison

    @property
    def settings(self) -> Mapping[str, object]:
        return dict(self.arbiter.identity)

    def compute(
        self,
        work: Work,
        prompts: Stored[tuple[Prompt, ...]],
        answers: Stored[tuple[Candidate, ...]],
        opponents: Stored[tuple[Candidate, ...]],
        policy: Stored[Policy] | None,
    ) -> Metrics:
        asked = duels(answers.value, opponents.value)
        judge = policy.value if policy else None

        def compare(_: int, some: Sequence[Duel]) -> Iterator[list[Comparison]]:
            for comparison in self.arbiter.compare(prompts.value, some, judge):
                yield [comparison]

        shards = work.shards(Comparison, len(asked), self.arbiter.shard_pairs)
        read = shards.done()
        comparing = compute_in_shards(
            shards, asked, compare, streams=self.arbiter.streams, check=work.stop.check
        )
        label = f"{self.arbiter.name} compares"
        with Meter(self.engine) as meter:
            compared = self.keep(work, progress(comparing, len(asked), label, "pairs"))
        unscored = [item.unscored for item in compared if item.outcome is None]
        return {
            "comparisons": len(compared),
            "comparisons_new": len(compared) - read,
            "flips": sum(item.flipped for item in compared),
            "unscored": {reason: unscored.count(reason) for reason in sorted(set(unscored))},
            "engine": meter.metrics,
        }
