"""DPO of one adapter against a reference on the same quantized base: files in, files out."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from iterdpo.errors import LineageError
from iterdpo.store.atomic import write_text
from iterdpo.store.hashing import file_sha256
from iterdpo.store.tables import read_records
from iterdpo.training.adapters import load_policy, restore_policy, save_policy, set_reference
from iterdpo.training.canary import choose_canary
from iterdpo.training.proofs import REFERENCE, adapter_sha256
from iterdpo.training.spec import ADAPTER_DIR, CANARY_FILE, REPORT_FILE, Example, TrainSpec

Advance = Callable[[int, int], None]
"""Called with (steps done, steps in all)."""


def train(spec: TrainSpec, out: Path, advance: Advance | None = None) -> dict[str, Any]:
    """Train a new adapter and write it, its proofs and its history to ``out``.

    Returns:
        What ``training.json`` holds: step 0, the history of losses, rewards and log-probs, and
        the hashes of the reference before and after.

    Raises:
        LineageError: a run-time proof failed; nothing is written that a caller could use.
        UserError: the training diverged.
    """
    from transformers import set_seed

    from iterdpo.engines.loading import load_tokenizer
    from iterdpo.training.trainer import make_trainer

    set_seed(spec.seed)
    examples = read_records(Path(spec.examples), Example)
    model = load_policy(spec)
    tokenizer = load_tokenizer(spec.base.path, spec.trust_remote_code)
    trainer = make_trainer(model, tokenizer, examples, spec, advance)
    restore_policy(model, spec)
    set_reference(model, spec)
    canary = choose_canary(model, examples, spec)
    reference_before = adapter_sha256(model, REFERENCE)

    trainer.train()

    reference_after = adapter_sha256(model, REFERENCE)
    if reference_after != reference_before:
        raise LineageError("the reference adapter changed while the policy was trained")
    if trainer.step_zero is None:
        raise LineageError("training ended without a first step")
    save_policy(model, out / ADAPTER_DIR, spec)
    write_text(out / CANARY_FILE, json.dumps(dataclasses.asdict(canary.measured(model))) + "\n")
    report = {
        "adapter_sha256": file_sha256(out / ADAPTER_DIR / "adapter_model.safetensors"),
        "pairs": len(examples),
        "steps": trainer.state.global_step,
        "step0": dataclasses.asdict(trainer.step_zero),
        "reference_sha256": reference_before,
        "reference_unchanged": True,
        "history": trainer.history,
    }
    write_text(out / REPORT_FILE, json.dumps(report, indent=1, sort_keys=True) + "\n")
    return report
