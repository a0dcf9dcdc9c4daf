"""DPO of a policy against a reference: files in, files out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from iterdpo.errors import LineageError
from iterdpo.runtime.signals import StopRequest
from iterdpo.store.tables import read_records
from iterdpo.training.canary import pair_texts
from iterdpo.training.learners import load_learner
from iterdpo.training.lifecycle import follow, keep, memory_errors_named
from iterdpo.training.spec import Example, TrainSpec

if TYPE_CHECKING:
    from iterdpo.training.callbacks import Advance


def train(
    spec: TrainSpec, out: Path, advance: Advance | None = None, stop: StopRequest | None = None
) -> dict[str, Any]:
    """Train a new policy and write it, its proofs and its history to ``out``.

    With ``spec.checkpoints``, training goes on from the last complete checkpoint there, if one of
    this very training is there, and ends with the result that it would have had anyway.

    Returns:
        What ``training.json`` holds: step 0, the history of losses, rewards and log-probs, and
        the hashes of the reference before and after; where memory ran out, also
        ``micro_batch_size``, the sizes that were used in turn.

    Raises:
        LineageError: a run-time proof failed; nothing is written that a caller could use.
        UserError: the training diverged, or memory ran out for a single pair.
        Stopped: ``stop`` was requested; where checkpoints are kept, one of the last step is there.
    """
    with memory_errors_named(spec):
        return _train(spec, out, advance, stop or StopRequest())


def _train(
    spec: TrainSpec, out: Path, advance: Advance | None, stop: StopRequest
) -> dict[str, Any]:
    from transformers import set_seed

    from iterdpo.models.loading import load_tokenizer
    from iterdpo.training.trainer import make_trainer

    set_seed(spec.seed)
    examples = read_records(Path(spec.examples), Example)
    learner = load_learner(spec)
    tokenizer = load_tokenizer(spec.base.path, spec.trust_remote_code)
    trainer = make_trainer(learner, tokenizer, examples, spec, advance, stop)
    learner.begin()
    before = learner.reference_sha256()
    canary = follow(trainer, *pair_texts(examples, spec.engine_logprobs), before)
    if learner.reference_sha256() != before:
        raise LineageError("the reference changed while the policy was trained")
    return keep(
        trainer,
        canary,
        out,
        {
            "pairs": len(examples),
            "reference_sha256": before,
            "reference_unchanged": True,
        },
    )
