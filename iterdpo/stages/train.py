"""Candidates are judged, paired, and learned from."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iterdpo.config.model import LoraConfig
from iterdpo.config.training import TrainingConfig
from iterdpo.engines.base import Engine, TokenSequence
from iterdpo.errors import LineageError, UserError
from iterdpo.models.canary import CANARY_FILE, Canary
from iterdpo.pairing.base import Pairing
from iterdpo.records import (
    OFFLINE,
    Candidate,
    Pair,
    Policy,
)
from iterdpo.settings import key_settings
from iterdpo.stages import names
from iterdpo.stages.base import Metrics
from iterdpo.stages.policies import trained_policy
from iterdpo.store.hashing import derive_seed
from iterdpo.store.stage import Stored, Work
from iterdpo.store.tables import write_records
from iterdpo.training.canary import watched_texts
from iterdpo.training.run import run_training
from iterdpo.training.spec import DpoSpec, OrpoSpec, PairExample

log = logging.getLogger(__name__)

CHECKPOINTS_DIR = "checkpoints"


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

    name = names.ADAPTER
    version = 3

    @property
    def settings(self) -> Mapping[str, object]:
        return {
            "lora": key_settings(self.lora) if self.lora else None,
            "training": key_settings(self.training),
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
            message = (
                f"training.max_length={self.training.max_length}: the prompts of {left_out} of "
            )
            message += f"{len(given)} pairs of iteration {iteration} leave no room for an answer"
            if not examples:
                raise UserError(f"{message}; raise it, or give shorter prompts")
            log.warning("%s: these are not trained on", message)
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch) / "examples.parquet"
            write_records(file, PairExample, examples)
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
            spec: OrpoSpec | DpoSpec = (
                OrpoSpec(**every)
                if self.training.method == "orpo"
                else DpoSpec(
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

    def _measured(
        self, examples: Sequence[PairExample], start: Policy
    ) -> tuple[tuple[float, ...], ...]:
        """Return the engine's log-probs of the watched texts, where it did not write them."""
        if examples[0].noted_logprobs:
            return ()
        texts = [TokenSequence(*text) for text in watched_texts(examples)]
        return tuple(self.engine.sequence_logprobs(texts, start))

    def load(self, directory: Path, iteration: int, policy: Stored[Policy], *_: object) -> Policy:
        return trained_policy(f"M{iteration}", directory, policy.value)


def examples_of(pairs: Sequence[Pair], candidates: Sequence[Candidate]) -> Iterator[PairExample]:
    """Yield each pair as the token ids, and the log-probs that its engine wrote down."""
    by_id = {candidate.id: candidate for candidate in candidates}
    for pair in pairs:
        chosen, rejected = by_id[pair.chosen_id], by_id[pair.rejected_id]
        yield PairExample(
            prompt_ids=chosen.prompt_token_ids,
            chosen_ids=chosen.token_ids,
            rejected_ids=rejected.token_ids,
            chosen_logprobs=_noted(chosen),
            rejected_logprobs=_noted(rejected),
        )


def with_room(examples: Sequence[PairExample], longest: int | None) -> list[PairExample]:
    """Return the pairs of which some of each answer is left when all ends at ``longest`` tokens.

    Of another the loss is undefined where it is a mean over an answer's tokens, and a constant
    where it is a sum.
    """
    return [item for item in examples if longest is None or len(item.prompt_ids) < longest]


def _noted(candidate: Candidate) -> Sequence[float]:
    """Return the log-probs that the engine noted while it wrote; none where nobody here wrote."""
    return () if candidate.policy == OFFLINE else candidate.logprobs
