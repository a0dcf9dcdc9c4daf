"""Candidates are judged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from iterdpo.engines.base import Engine
from iterdpo.engines.usage import Meter
from iterdpo.judging.asking import part_units, room_for, units_of
from iterdpo.judging.base import Judge
from iterdpo.records import (
    POLICY_JUDGES,
    Candidate,
    Judgment,
    Policy,
    Prompt,
    Unscored,
)
from iterdpo.runtime.progress import progress
from iterdpo.stages import names
from iterdpo.stages.base import Metrics, RecordStep
from iterdpo.store.shards import compute_by_parts
from iterdpo.store.stage import Stored, Work


@dataclass(frozen=True)
class JudgeCandidates(RecordStep[Judgment]):
    """What a policy says, as the judge, of candidates."""

    judge: Judge
    engine: Engine
    """What the judge runs on, to count its tokens."""
    name: str = names.JUDGMENTS

    record = Judgment
    version = 2

    @property
    def settings(self) -> Mapping[str, object]:
        return dict(self.judge.identity)

    @property
    def asks_policy(self) -> bool:
        """Whether the policy it is given is the one that judges, and not a judge of its own."""
        return self.judge.identity["judge"] in POLICY_JUDGES

    def compute(
        self,
        work: Work,
        prompts: Stored[tuple[Prompt, ...]],
        candidates: Stored[tuple[Candidate, ...]],
        policy: Stored[Policy],
    ) -> Metrics:
        asked = candidates.value
        units = units_of(asked, self.judge)

        def judge(_: int, some: Sequence[Sequence[Candidate]]) -> Iterator[list[Judgment]]:
            flat = [item for unit in some for item in unit]
            judging = self.judge.judge(prompts.value, flat, policy.value)
            for unit in some:
                if len(made := list(islice(judging, len(unit)))) == len(unit):
                    yield made

        parts = work.parts(Judgment, len(units), part_units(units, self.judge))
        read = sum(map(len, units[: parts.done()]))
        judging = compute_by_parts(
            parts, units, judge, streams=self.judge.streams, check=work.stop.check
        )
        label = f"{policy.value.name if self.asks_policy else self.judge.identity['judge']} judges"
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
