"""A training of any method, from files to files: load, check, train, and keep nothing that failed.

What sets the methods apart is on their specs (what their examples are) and on their trainers (what
the library is asked for, the arithmetic of step 0, what the history holds).
"""

from __future__ import annotations

import dataclasses
import io
import json
import logging
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iterdpo.errors import LineageError
from iterdpo.models.canary import CANARY_FILE
from iterdpo.models.layout import TRAINING_FILE
from iterdpo.models.out_of_memory import memory_errors_named
from iterdpo.runtime.signals import StopRequest
from iterdpo.store.atomic import write_text
from iterdpo.store.tables import read_records
from iterdpo.training.canary import (
    WatchedTexts,
    choose_canary,
    noted_logprobs,
    watched,
    watched_texts,
)
from iterdpo.training.checkpoints import Checkpoints, identity_of
from iterdpo.training.checks import tensors_sha256
from iterdpo.training.divergence import check_policy, check_weights
from iterdpo.training.learners import Learner, load_learner
from iterdpo.training.memory import what_to_try
from iterdpo.training.resuming import Progress, trained_weights
from iterdpo.training.spec import AnyExample, AnySpec, OrpoSpec, SftSpec

if TYPE_CHECKING:
    from iterdpo.training.callbacks import Advance
    from iterdpo.training.resumable import ResumableTrainer

log = logging.getLogger(__name__)


def train(
    spec: AnySpec, out: Path, advance: Advance | None = None, stop: StopRequest | None = None
) -> dict[str, Any]:
    """Train a new policy and write it, its canary and its report to ``out``.

    With ``spec.checkpoints``, training resumes at the last complete checkpoint there, if one of
    this very training is there, and ends with the result that it would have had anyway.

    Returns:
        What ``training.json`` holds: step 0, the history of losses and metrics, the number of
        examples, and, of a training with a reference, the reference's hash; where memory ran out,
        also ``micro_batch_size``, the sizes that were used in turn. Of several processes, the main
        one alone returns it.

    Raises:
        LineageError: a run-time check failed; nothing is written that a caller could use.
        UserError: the training diverged, or memory ran out for a single example.
        Stopped: ``stop`` was requested; where checkpoints are kept, one of the last step is there.
    """
    from transformers import set_seed

    from iterdpo.models.loading import load_tokenizer

    with memory_errors_named("training", what_to_try(spec.section)):
        trainer_class(spec)  # imported before the seed is set, as an import may draw from it
        set_seed(spec.seed)
        examples: list[Any] = read_records(Path(spec.examples), spec.record)
        learner = load_learner(spec)
        tokenizer = load_tokenizer(spec.base.path, spec.trust_remote_code)
        trainer = make_trainer(learner, tokenizer, examples, spec, advance, stop)
        learner.begin()
        reference = learner.reference_sha256()
        canary = _run(trainer, examples, reference)
        if learner.reference_sha256() != reference:
            raise LineageError("the reference changed while the policy was trained")
        facts = {f"{spec.unit}s": len(examples)} | trainer.facts(examples)
        if reference is not None:
            facts |= {"reference_sha256": reference, "reference_unchanged": True}
        return _write(trainer, canary, out, facts)


def make_trainer(
    learner: Learner,
    tokenizer: Any,
    examples: Sequence[Any],
    spec: AnySpec,
    advance: Advance | None = None,
    stop: StopRequest | None = None,
) -> ResumableTrainer:
    """Return the trainer of ``spec``'s method, checked and recorded step by step.

    TRL adds the reference adapter of a DPO training while this constructs it.
    """
    from iterdpo.training import callbacks

    kind = trainer_class(spec)
    trainer = kind(
        spec,
        learner,
        stop or StopRequest(),
        model=learner.model,
        args=kind.arguments(spec),
        processing_class=tokenizer,
        train_dataset=kind.dataset(examples),
    )
    callbacks.watched(trainer, advance)
    return trainer


def trainer_class(spec: AnySpec) -> type[ResumableTrainer]:
    """Return the class of the trainer of ``spec``'s method. To import it is to import TRL."""
    # transformers prints as it is imported that W&B is offline, whether or not it is used.
    with redirect_stdout(io.StringIO()):
        if isinstance(spec, SftSpec):
            from iterdpo.training.sft_trainer import ResumableSftTrainer

            return ResumableSftTrainer
        if isinstance(spec, OrpoSpec):
            from iterdpo.training.orpo_trainer import ResumableOrpoTrainer

            return ResumableOrpoTrainer
        from iterdpo.training.dpo_trainer import ResumableDpoTrainer

        return ResumableDpoTrainer


def _run(
    trainer: ResumableTrainer, examples: Sequence[AnyExample], reference_sha256: str | None
) -> WatchedTexts:
    """Train to the end, from the last checkpoint of this very training if there is one.

    Args:
        trainer: of a policy and a reference that are what its spec names.
        examples: all that it trains on.
        reference_sha256: of the reference; None for a training without one.

    Returns:
        The texts that are measured before and after, measured before.
    """
    spec, learner, peers = trainer.spec, trainer.learner, trainer.peers
    texts = watched_texts(examples)
    peers.assert_equal_across_ranks("the reference", reference_sha256)
    checkpoint = None
    if spec.checkpoints is not None and spec.checkpoint_steps is not None:
        identity = identity_of(spec, reference_sha256, learner.model.device.type)
        trainer.checkpoints = Checkpoints(Path(spec.checkpoints), identity)
        checkpoint = peers.from_main_process(trainer.checkpoints.latest)
    engine = spec.engine_logprobs or noted_logprobs(examples)
    if checkpoint is None:
        with learner.computing():
            canary = choose_canary(learner.model, texts, engine, spec)
        trainer.progress.canary_before, trainer.progress.canary_noise = canary.before, canary.noise
    else:
        trainer.progress = Progress.read(checkpoint)
        progress = trainer.progress
        canary = watched(spec, texts, engine, progress.canary_before, progress.canary_noise)
        log.info("training resumes at step %d (%s)", checkpoint.step, checkpoint.directory)
    trainer.train(resume_from_checkpoint=str(checkpoint.directory) if checkpoint else None)
    if trainer.progress.step_zero is None:
        raise LineageError("training ended without a first step")
    check_weights(learner.model, trainer.progress.history, spec)
    if peers.size > 1:
        peers.assert_equal_across_ranks(
            "the trained policy", tensors_sha256(trained_weights(learner.model))
        )
    return canary


def _write(
    trainer: ResumableTrainer, canary: WatchedTexts, out: Path, facts: dict[str, Any]
) -> dict[str, Any]:
    """Write the trained policy, its canary and its report to ``out``; return the report.

    Of several processes the main one writes, after all have come here; the others return nothing.

    Args:
        trainer: after the last step.
        canary: measured before the first.
        out: directory for the result.
        facts: what the report holds besides what every training's does.
    """
    progress, learner, peers = trainer.progress, trainer.learner, trainer.peers
    assert progress.step_zero is not None
    peers.gather(None)  # what another process has yet to find wrong must leave nothing behind
    if not peers.is_main_process:
        return {}
    with learner.computing():
        measured = canary.measured(learner.model)
    after = [value for text in measured.texts for value in text.after]
    check_policy(after, progress.history, trainer.spec)
    report = learner.save(out) | {
        "steps": trainer.state.global_step,
        "step0": dataclasses.asdict(progress.step_zero),
        "history": progress.history,
        **facts,
    }
    write_text(out / CANARY_FILE, json.dumps(dataclasses.asdict(measured)) + "\n")
    if len(progress.micro_batch_sizes) > 1:
        report["micro_batch_size"] = progress.micro_batch_sizes
    write_text(out / TRAINING_FILE, json.dumps(report, indent=1, sort_keys=True) + "\n")
    return report
