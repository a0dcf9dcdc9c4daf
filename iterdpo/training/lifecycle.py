"""The course of every training: go on or begin, prove, train, and keep nothing that failed."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iterdpo.errors import LineageError, UserError
from iterdpo.models.canary import CANARY_FILE
from iterdpo.models.layout import REPORT_FILE
from iterdpo.store.atomic import write_text
from iterdpo.training.canary import Text, WatchedTexts, choose_canary
from iterdpo.training.checkpoints import Checkpoints, identity_of
from iterdpo.training.checks import tensors_sha256
from iterdpo.training.divergence import check_weights
from iterdpo.training.memory import is_out_of_memory, what_to_try
from iterdpo.training.resuming import Progress, trained_weights
from iterdpo.training.spec import Spec

if TYPE_CHECKING:
    from iterdpo.training.resumable import ResumableTrainer

log = logging.getLogger(__name__)


@contextmanager
def memory_errors_named(spec: Spec) -> Iterator[None]:
    """Raise ``UserError`` where memory runs out within the block."""
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        said = " ".join(str(error).split())[:200]
        tips = what_to_try(spec.section)
        raise UserError(f"training ran out of memory ({said}): {tips}") from error


def follow(
    trainer: ResumableTrainer,
    texts: Sequence[Text],
    engine: Sequence[float],
    reference_sha256: str | None,
) -> WatchedTexts:
    """Train to the end, from the last checkpoint of this very training if there is one.

    Args:
        trainer: of a policy and a reference that are what its spec names.
        texts: prompt and answer of what is measured before and after.
        engine: log p of these answers under the start, by the engine, in nats.
        reference_sha256: of the reference; None for a training without one.

    Raises:
        LineageError, UserError, Stopped: as ``dpo.train``.
    """
    spec, learner, peers = trainer.spec, trainer.learner, trainer.peers
    peers.assert_equal_across_ranks("the reference", reference_sha256)
    checkpoint = None
    if spec.checkpoints is not None and spec.checkpoint_steps is not None:
        identity = identity_of(spec, reference_sha256, learner.model.device.type)
        trainer.checkpoints = Checkpoints(Path(spec.checkpoints), identity)
        checkpoint = peers.from_main_process(trainer.checkpoints.latest)
    if checkpoint is None:
        with learner.computing():
            canary = choose_canary(learner.model, texts, engine, spec)
        trainer.progress.canary_before, trainer.progress.canary_noise = canary.before, canary.noise
    else:
        trainer.progress = Progress.read(checkpoint)
        canary = WatchedTexts(
            tuple(texts), trainer.progress.canary_before, trainer.progress.canary_noise
        )
        log.info("training goes on from step %d (%s)", checkpoint.step, checkpoint.directory)
    trainer.train(resume_from_checkpoint=str(checkpoint.directory) if checkpoint else None)
    if trainer.progress.step_zero is None:
        raise LineageError("training ended without a first step")
    check_weights(learner.model, trainer.progress.history, spec)
    if peers.size > 1:
        peers.assert_equal_across_ranks(
            "the trained policy", tensors_sha256(trained_weights(learner.model))
        )
    return canary


def keep(
    trainer: ResumableTrainer, canary: WatchedTexts, out: Path, said: dict[str, Any]
) -> dict[str, Any]:
    """Write the trained policy, its canary and its report to ``out``; return the report.

    Of several processes the first writes, after all have come here; the others return nothing.

    Args:
        trainer: after the last step.
        canary: measured before the first.
        out: directory for the result.
        said: what the report holds besides what every training's does.
    """
    progress, learner, peers = trainer.progress, trainer.learner, trainer.peers
    assert progress.step_zero is not None
    peers.gather(None)  # what another process has yet to find wrong must leave nothing behind
    if not peers.is_main_process:
        return {}
    report = learner.save(out) | {
        "steps": trainer.state.global_step,
        "step0": dataclasses.asdict(progress.step_zero),
        "history": progress.history,
    }
    report |= said
    with learner.computing():
        measured = canary.measured(learner.model)
    write_text(out / CANARY_FILE, json.dumps(dataclasses.asdict(measured)) + "\n")
    if len(progress.micro_batch_sizes) > 1:
        report["micro_batch_size"] = progress.micro_batch_sizes
    write_text(out / REPORT_FILE, json.dumps(report, indent=1, sort_keys=True) + "\n")
    return report
