"""ORPO, preference training without a reference: files in, files out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from iterdpo.runtime.signals import StopRequest
from iterdpo.store.tables import read_records
from iterdpo.training.canary import pair_texts
from iterdpo.training.learners import load_learner
from iterdpo.training.lifecycle import follow, keep, memory_errors_named
from iterdpo.training.spec import Example, OrpoSpec

if TYPE_CHECKING:
    from iterdpo.training.callbacks import Advance


def train_by_odds(
    spec: OrpoSpec, out: Path, advance: Advance | None = None, stop: StopRequest | None = None
) -> dict[str, Any]:
    """Train a new policy by ORPO (arXiv 2403.07691) and write it to ``out``.

    It survives, and is proven, as ``dpo.train`` is; there is no reference.

    Returns:
        What ``training.json`` holds: step 0 and the history of losses, odds and log-probs, which
        are means over an answer's tokens.

    Raises:
        LineageError, UserError, Stopped: as ``dpo.train``.
    """
    from transformers import set_seed

    from iterdpo.models.loading import load_tokenizer
    from iterdpo.training.orpo_trainer import make_odds_trainer

    with memory_errors_named(spec):
        set_seed(spec.seed)
        examples = read_records(Path(spec.examples), Example)
        learner = load_learner(spec)
        tokenizer = load_tokenizer(spec.base.path, spec.trust_remote_code)
        trainer = make_odds_trainer(learner, tokenizer, examples, spec, advance, stop)
        learner.begin()
        canary = follow(trainer, *pair_texts(examples, spec.engine_logprobs), None)
        return keep(trainer, canary, out, {"pairs": len(examples), "logps": "mean"})
