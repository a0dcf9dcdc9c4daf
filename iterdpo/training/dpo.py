"""DPO of one adapter against a reference on the same quantized base: files in, files out."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from iterdpo.errors import LineageError, UserError
from iterdpo.stopping import StopRequest
from iterdpo.store.atomic import write_text
from iterdpo.store.hashing import file_sha256
from iterdpo.store.tables import read_records
from iterdpo.training.adapters import load_policy, restore_policy, save_policy, set_reference
from iterdpo.training.canary import WatchedTexts, choose_canary, watched_texts
from iterdpo.training.checkpoints import Checkpoints, identity_of
from iterdpo.training.divergence import check_weights
from iterdpo.training.memory import WHAT_TO_TRY, is_out_of_memory
from iterdpo.training.proofs import REFERENCE, adapter_sha256
from iterdpo.training.resuming import Progress
from iterdpo.training.spec import ADAPTER_DIR, CANARY_FILE, REPORT_FILE, Example, TrainSpec

log = logging.getLogger(__name__)

Advance = Callable[[int, int], None]
"""Called with (steps done, steps in all)."""


def train(
    spec: TrainSpec, out: Path, advance: Advance | None = None, stop: StopRequest | None = None
) -> dict[str, Any]:
    """Train a new adapter and write it, its proofs and its history to ``out``.

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
    try:
        return _train(spec, out, advance, stop or StopRequest())
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        said = " ".join(str(error).split())[:200]
        raise UserError(f"training ran out of memory ({said}): {WHAT_TO_TRY}") from error


def _train(
    spec: TrainSpec, out: Path, advance: Advance | None, stop: StopRequest
) -> dict[str, Any]:
    from transformers import set_seed

    from iterdpo.engines.loading import load_tokenizer
    from iterdpo.training.trainer import make_trainer

    set_seed(spec.seed)
    examples = read_records(Path(spec.examples), Example)
    model = load_policy(spec)
    tokenizer = load_tokenizer(spec.base.path, spec.trust_remote_code)
    trainer = make_trainer(model, tokenizer, examples, spec, advance, stop)
    restore_policy(model, spec)
    set_reference(model, spec)
    reference_before = adapter_sha256(model, REFERENCE)
    checkpoint = None
    if spec.checkpoints is not None and spec.checkpoint_steps is not None:
        identity = identity_of(spec, reference_before, model.device.type)
        trainer.checkpoints = Checkpoints(Path(spec.checkpoints), identity)
        checkpoint = trainer.checkpoints.latest()
    if checkpoint is None:
        canary = choose_canary(model, examples, spec)
        trainer.progress.canary_before, trainer.progress.canary_noise = canary.before, canary.noise
    else:
        trainer.progress = Progress.read(checkpoint)
        canary = WatchedTexts(
            watched_texts(examples), trainer.progress.canary_before, trainer.progress.canary_noise
        )
        log.info("training goes on from step %d (%s)", checkpoint.step, checkpoint.directory)

    trainer.train(resume_from_checkpoint=str(checkpoint.directory) if checkpoint else None)

    progress = trainer.progress
    reference_after = adapter_sha256(model, REFERENCE)
    if reference_after != reference_before:
        raise LineageError("the reference adapter changed while the policy was trained")
    if progress.step_zero is None:
        raise LineageError("training ended without a first step")
    check_weights(model, progress.history, spec.training)
    save_policy(model, out / ADAPTER_DIR, spec)
    write_text(out / CANARY_FILE, json.dumps(dataclasses.asdict(canary.measured(model))) + "\n")
    report = {
        "adapter_sha256": file_sha256(out / ADAPTER_DIR / "adapter_model.safetensors"),
        "pairs": len(examples),
        "steps": trainer.state.global_step,
        "step0": dataclasses.asdict(progress.step_zero),
        "reference_sha256": reference_before,
        "reference_unchanged": True,
        "history": progress.history,
    }
    if len(progress.micro_batch_sizes) > 1:
        report["micro_batch_size"] = progress.micro_batch_sizes
    write_text(out / REPORT_FILE, json.dumps(report, indent=1, sort_keys=True) + "\n")
    return report
