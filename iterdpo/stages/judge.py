"""Candidates are judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from iterdpo.engines.base import Engine
from iterdpo.engines.usage import Meter
from iterdpo.judging.asking import ask, groups_of, room_for, shard_groups
from iterdpo.judging.base import Judge
from iterdpo.records import Candidate, Judgment, Policy, Prompt, Unscored
from iterdpo.runtime.progress import progress
from iterdpo.settings import identity
from iterdpo.stages import names
from iterdpo.stages.base import Metrics, RecordStage
from iterdpo.store.shards import compute_in_shards
from iterdpo.store.stage import Stored, Work


@dataclass(frozen=True)
class JudgeCandidates(RecordStage[Judgment]):
    """What a policy says, as the judge, of candidates."""

    judge: Judge
    engine: Engine
    """What the judge runs on, to count its tokens."""
    name: str = names.JUDGMENTS

    record = Judgment
    version = 2

    @property
    def settings(self) -> Mapping[str, object]:
        return {"judge": identity(self.judge), "scale": self.judge.scale}

    @property
    def asks_policy(self) -> bool:
        """Whether the policy it is given is the one that judges, and not a judge of its own."""
        return self.judge.asks_policy

    def compute(
        self,
        work: Work,
        prompts: Stored[tuple[Prompt, ...]],
        candidates: Stored[tuple[Candidate, ...]],
        policy: Stored[Policy],
    ) -> Metrics:
        asked = candidates.value
        groups = groups_of(prompts.value, asked, self.judge)
        shards = work.shards(Judgment, len(groups), shard_groups(groups, self.judge))
        read = sum(len(group.candidates) for group in groups[: shards.done()])
        judging = compute_in_shards(
            shards,
            groups,
            lambda _, some: ask(self.judge, some, policy.value),
            streams=self.judge.streams,
            check=work.stop.check,
        )
        label = f"{policy.value.name if self.asks_policy else type(self.judge).__name__} judges"
        before = dict(self.judge.counts)
        with room_for(self.judge, self.engine), Meter(self.engine) as meter:
            judgments = self.keep(work, progress(judging, len(asked), label, "answers"))
        counts = {name: now - before.get(name, 0) for name, now in self.judge.counts.items()}
        unscored = [item.verdict for item in judgments if isinstance(item.verdict, Unscored)]
        reasons = sorted({verdict.reason.value for verdict in unscored})
        return {
            "judgments": len(judgments),
            "judgments_new": len(judgments) - read,
            "scored": len(judgments) - len(unscored),
            "unscored": {
                reason: sum(verdict.reason == reason for verdict in unscored) for reason in reasons
            },
            "engine": meter.metrics,
            **({"judge": counts} if counts else {}),
        }
