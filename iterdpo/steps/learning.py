"""Candidates are judged, paired, and learned from."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from iterdpo.config.model import LoraConfig
from iterdpo.config.training import TrainingConfig
from iterdpo.engines.base import Engine, TokenSequence
from iterdpo.engines.usage import Meter
from iterdpo.errors import LineageError, UserError
from iterdpo.judging.asking import part_units, room_for, units_of
from iterdpo.judging.base import Judge
from iterdpo.pairing.base import DropReason, Pairing, Strategy, build_pairs
from iterdpo.progress import progress
from iterdpo.records import (
    GIVEN,
    POLICY_JUDGES,
    Candidate,
    Judgment,
    Pair,
    Policy,
    Prompt,
    Unscored,
)
from iterdpo.steps.base import RECORDS_FILE, Metrics, RecordStep, policy_in
from iterdpo.store.atomic import write_text
from iterdpo.store.hashing import derive_seed
from iterdpo.store.parts import compute_by_parts
from iterdpo.store.stages import Stored, Work
from iterdpo.store.tables import read_records, write_records
from iterdpo.training.canary import pair_texts
from iterdpo.training.run import run_training
from iterdpo.training.spec import CANARY_FILE, Canary, Example, OrpoSpec, TrainSpec

log = logging.getLogger(__name__)

DROPPED_FILE = "dropped.json"
CHECKPOINTS_DIR = "checkpoints"
INERT_SETTINGS = ("process", "processes", "checkpoint_steps", "step0_tolerance")
"""Of a training: where it runs and what it tolerates change no result."""


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


class PairingStep:
    """A step whose result is a ``Pairing``."""

    name = "pairs"
    version = 1

    def keep(self, work: Work, made: Pairing) -> Metrics:
        """Write the pairs, and how many were dropped for which reason."""
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
class BuildPairs(PairingStep):
    """Preference pairs from judged candidates, and why the others were dropped."""

    strategy: Strategy
    strategy_name: str
    k: int
    min_margin: float

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
        return self.keep(work, made)


@dataclass(frozen=True)
class Train:
    """Training on an iteration's pairs: a policy and a reference in, the next policy out.

    ORPO leaves the reference where it is.
    """

    lora: LoraConfig | None
    """None trains every weight."""
    training: TrainingConfig
    attention: str | None
    trust_remote_code: bool
    seed: int
    engine: Engine
    """Gives its memory back while this runs."""
    max_engine_gap: float | None

    name = "adapter"
    version = 2

    @property
    def settings(self) -> Mapping[str, object]:
        training = asdict(self.training)
        for name in INERT_SETTINGS:
            del training[name]
        del training["reference"]  # enters as an argument
        return {
            "lora": asdict(self.lora) if self.lora else None,
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
        if self.lora is not None and against.base.fingerprint != start.base.fingerprint:
            raise LineageError(f"{start.name} and its reference stand on different bases")
        given = list(examples_of(pairs.value.kept, candidates.value))
        examples = with_room(given, self.training.max_length)
        if left_out := len(given) - len(examples):
            said = f"training.max_length={self.training.max_length}: the prompts of {left_out} of "
            said += f"{len(given)} pairs of iteration {iteration} leave no room for an answer"
            if not examples:
                raise UserError(f"{said}; raise it, or give shorter prompts")
            log.warning("%s: these are not trained on", said)
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch) / "examples.parquet"
            write_records(file, Example, examples)
            every: dict[str, Any] = {
                "base": start.base,
                "lora": self.lora,
                "training": self.training,
                "policy_adapter": start.adapter.path if start.adapter else None,
                "examples": str(file),
                "seed": derive_seed(self.seed, "train", iteration),
                "attention": self.attention,
                "trust_remote_code": self.trust_remote_code,
                "author": start.name,
                "max_engine_gap": self.max_engine_gap,
                "checkpoints": str(work.kept / CHECKPOINTS_DIR),
                "checkpoint_steps": self.training.checkpoint_steps,
                "engine_logprobs": self._measured(examples, start),
            }
            spec: OrpoSpec | TrainSpec = (
                OrpoSpec(**every)
                if self.training.method == "orpo"
                else TrainSpec(
                    **every,
                    reference_adapter=against.adapter.path if against.adapter else None,
                    reference_base=None if self.lora else against.base,
                    reference_is_start=start.fingerprint == against.fingerprint,
                )
            )
            self.engine.sleep()
            report = run_training(spec, work.directory, f"M{iteration} trains", work.stop)
            self.engine.wake()
        return {
            "pairs": report["pairs"],
            "prompts_too_long": left_out,
            "steps": report["steps"],
            "step0_loss": report["step0"]["loss"],
            "step0_expected_loss": report["step0"]["expected_loss"],
            "step0_largest_reward": report["step0"]["largest_reward"],
            "final_loss": report["history"][-1]["loss"],
            # None of a training without a reference.
            "reference_sha256": report.get("reference_sha256"),
            "reference_unchanged": report.get("reference_unchanged"),
            "engine_gap": Canary.read(work.directory / CANARY_FILE).noise,
        }

    def _measured(self, examples: Sequence[Example], start: Policy) -> tuple[float, ...]:
        """Return the engine's log-probs of the watched texts, where it did not write them."""
        if examples[0].chosen_logprob is not None:
            return ()
        texts, _ = pair_texts(examples)
        return tuple(self.engine.sequence_logprobs([TokenSequence(*it) for it in texts], start))

    def load(self, directory: Path, iteration: int, policy: Stored[Policy], *_: object) -> Policy:
        return policy_in(directory, f"M{iteration}", policy.value)


def examples_of(pairs: Sequence[Pair], candidates: Sequence[Candidate]) -> Iterator[Example]:
    """Yield each pair as the token ids, and the log-probs that its engine wrote down."""
    by_id = {candidate.id: candidate for candidate in candidates}
    for pair in pairs:
        chosen, rejected = by_id[pair.chosen_id], by_id[pair.rejected_id]
        yield Example(
            prompt_ids=chosen.prompt_token_ids,
            chosen_ids=chosen.token_ids,
            rejected_ids=rejected.token_ids,
            chosen_logprob=_noted(chosen),
            rejected_logprob=_noted(rejected),
        )


def with_room(examples: Sequence[Example], longest: int | None) -> list[Example]:
    """Return the pairs of which some of each answer is left when all ends at ``longest`` tokens.

    Of another the loss is undefined where it is a mean over an answer's tokens, and a constant
    where it is a sum.
    """
    return [item for item in examples if longest is None or len(item.prompt_ids) < longest]


def _noted(candidate: Candidate) -> float | None:
    """Return the log-prob that the engine noted while it wrote; None where nobody here wrote."""
    return None if candidate.policy == GIVEN else sum(candidate.logprobs)
