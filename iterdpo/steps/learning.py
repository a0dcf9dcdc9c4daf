"""Candidates are judged, paired, and learned from."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from iterdpo.config.model import LoraConfig
from iterdpo.config.training import TrainingConfig
from iterdpo.engines.base import Engine
from iterdpo.engines.usage import Meter
from iterdpo.judging.base import Judge
from iterdpo.pairing.base import DropReason, Pairing, Strategy, build_pairs
from iterdpo.progress import progress
from iterdpo.records import Adapter, Candidate, Judgment, Pair, Policy, Prompt, Unscored
from iterdpo.steps.base import RECORDS_FILE, Metrics, RecordStep
from iterdpo.store.atomic import write_text
from iterdpo.store.hashing import derive_seed
from iterdpo.store.parts import compute_by_parts
from iterdpo.store.stages import Stored, Work
from iterdpo.store.tables import read_records, write_records
from iterdpo.training.run import run_training
from iterdpo.training.spec import ADAPTER_DIR, CANARY_FILE, REPORT_FILE, Canary, Example, TrainSpec

DROPPED_FILE = "dropped.json"
CHECKPOINTS_DIR = "checkpoints"


@dataclass(frozen=True)
class JudgeCandidates(RecordStep[Judgment]):
    """What a policy says, as the judge, of candidates."""

    judge: Judge
    engine: Engine
    """What the judge runs on, to count its tokens."""
    name: str = "judgments"

    record = Judgment
    version = 2

    @property
    def settings(self) -> Mapping[str, object]:
        return dict(self.judge.identity)

    def compute(
        self,
        work: Work,
        prompts: Stored[tuple[Prompt, ...]],
        candidates: Stored[tuple[Candidate, ...]],
        policy: Stored[Policy],
    ) -> Metrics:
        asked = candidates.value

        def judge(_: int, some: Sequence[Candidate]) -> Iterator[list[Judgment]]:
            for judgment in self.judge.judge(prompts.value, some, policy.value):
                yield [judgment]

        parts = work.parts(Judgment, len(asked), self.engine.part_rows)
        read = parts.done()
        judging = compute_by_parts(
            parts, asked, judge, streams=self.engine.streams, check=work.stop.check
        )
        label = f"{policy.value.name} judges"
        with Meter(self.engine) as meter:
            judgments = self.keep(work, progress(judging, len(asked), label, "answers"))
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
        }


@dataclass(frozen=True)
class BuildPairs:
    """Preference pairs from judged candidates, and why the others were dropped."""

    strategy: Strategy
    strategy_name: str
    k: int
    min_margin: float

    name = "pairs"
    version = 1

    @property
    def settings(self) -> Mapping[str, object]:
        return {"strategy": self.strategy_name, "k": self.k, "min_margin": self.min_margin}

    def compute(
        self,
        work: Work,
        prompts: Stored[tuple[Prompt, ...]],
        candidates: Stored[tuple[Candidate, ...]],
        judgments: Stored[tuple[Judgment, ...]],
    ) -> Metrics:
        made = build_pairs(
            prompts.value, candidates.value, judgments.value, self.strategy, self.min_margin
        )
        write_records(work.directory / RECORDS_FILE, Pair, made.kept)
        dropped = {reason.value: count for reason, count in made.dropped.items()}
        write_text(work.directory / DROPPED_FILE, json.dumps(dropped, sort_keys=True) + "\n")
        return {"kept": len(made.kept), "dropped": dropped}

    def load(self, directory: Path, *_: object) -> Pairing:
        dropped = json.loads((directory / DROPPED_FILE).read_text("utf-8"))
        return Pairing(
            kept=tuple(read_records(directory / RECORDS_FILE, Pair)),
            dropped={DropReason(reason): count for reason, count in dropped.items()},
        )


@dataclass(frozen=True)
class Train:
    """DPO on an iteration's pairs: a policy and a reference in, the next policy out."""

    lora: LoraConfig
    training: TrainingConfig
    attention: str | None
    trust_remote_code: bool
    seed: int
    engine: Engine
    """Gives its memory back while this runs."""
    max_engine_gap: float | None

    name = "adapter"
    version = 1

    @property
    def settings(self) -> Mapping[str, object]:
        training = asdict(self.training)
        # Where it runs and what it tolerates change nothing; the reference enters as an argument.
        for name in ("process", "checkpoint_steps", "step0_tolerance", "reference"):
            del training[name]
        return {
            "lora": asdict(self.lora),
            "training": training,
            "attention": self.attention,
            "seed": self.seed,
        }

    def compute(
        self,
        work: Work,
        iteration: int,
        policy: Stored[Policy],
        reference: Stored[Policy],
        pairs: Stored[Pairing],
        candidates: Stored[tuple[Candidate, ...]],
    ) -> Metrics:
        start, against = policy.value, reference.value
        with tempfile.TemporaryDirectory() as scratch:
            examples = Path(scratch) / "examples.parquet"
            write_records(examples, Example, examples_of(pairs.value.kept, candidates.value))
            spec = TrainSpec(
                base=start.base,
                lora=self.lora,
                training=self.training,
                policy_adapter=start.adapter.path if start.adapter else None,
                reference_adapter=against.adapter.path if against.adapter else None,
                reference_is_start=start.fingerprint == against.fingerprint,
                examples=str(examples),
                seed=derive_seed(self.seed, "train", iteration),
                attention=self.attention,
                trust_remote_code=self.trust_remote_code,
                author=start.name,
                max_engine_gap=self.max_engine_gap,
                checkpoints=str(work.kept / CHECKPOINTS_DIR),
                checkpoint_steps=self.training.checkpoint_steps,
            )
            self.engine.sleep()
            report = run_training(spec, work.directory, f"M{iteration} trains", work.stop)
            self.engine.wake()
        return {
            "pairs": report["pairs"],
            "steps": report["steps"],
            "step0_loss": report["step0"]["loss"],
            "step0_expected_loss": report["step0"]["expected_loss"],
            "step0_largest_reward": report["step0"]["largest_reward"],
            "final_loss": report["history"][-1]["loss"],
            "reference_sha256": report["reference_sha256"],
            "reference_unchanged": report["reference_unchanged"],
            "engine_gap": Canary.read(work.directory / CANARY_FILE).noise,
        }

    def load(self, directory: Path, iteration: int, policy: Stored[Policy], *_: object) -> Policy:
        start = policy.value
        report = json.loads((directory / REPORT_FILE).read_text("utf-8"))
        adapter = Adapter(str(directory / ADAPTER_DIR), report["adapter_sha256"])
        return Policy(f"M{iteration}", start.base, adapter, parent=start.fingerprint)


def examples_of(pairs: Sequence[Pair], candidates: Sequence[Candidate]) -> Iterator[Example]:
    """Yield each pair as the token ids and log-probs its engine wrote down."""
    by_id = {candidate.id: candidate for candidate in candidates}
    for pair in pairs:
        chosen, rejected = by_id[pair.chosen_id], by_id[pair.rejected_id]
        yield Example(
            prompt_ids=chosen.prompt_token_ids,
            chosen_ids=chosen.token_ids,
            rejected_ids=rejected.token_ids,
            chosen_logprob=sum(chosen.logprobs),
            rejected_logprob=sum(rejected.logprobs),
        )
