"""Supervised fine-tuning of a policy on answers: files in, files out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from iterdpo.runtime.signals import StopRequest
from iterdpo.store.tables import read_records
from iterdpo.training.canary import sft_texts
from iterdpo.training.learners import load_learner
from iterdpo.training.lifecycle import follow, keep, memory_errors_named
from iterdpo.training.spec import SftExample, SftSpec

if TYPE_CHECKING:
    from iterdpo.training.callbacks import Advance


def fine_tune(
    spec: SftSpec, out: Path, advance: Advance | None = None, stop: StopRequest | None = None
) -> dict[str, Any]:
    """Teach the base the answers of ``spec.examples`` and write the policy to ``out``.

    It survives, and is proven, as ``dpo.train`` is; there is no reference.

    Returns:
        What ``training.json`` holds: step 0, the number of lessons and of the tokens learned, and
        the history of losses.

    Raises:
        LineageError, UserError, Stopped: as ``dpo.train``.
    """
    from transformers import set_seed

    from iterdpo.models.loading import load_tokenizer
    from iterdpo.training.sft_trainer import make_lesson_trainer

    with memory_errors_named(spec):
        set_seed(spec.seed)
        lessons = read_records(Path(spec.examples), SftExample)
        learner = load_learner(spec)
        tokenizer = load_tokenizer(spec.base.path, spec.trust_remote_code)
        trainer = make_lesson_trainer(learner, tokenizer, lessons, spec, advance, stop)
        learner.begin()
        canary = follow(trainer, sft_texts(lessons), spec.engine_logprobs, None)
        tokens = sum(len(lesson.answer_ids) for lesson in lessons)
        return keep(trainer, canary, out, {"lessons": len(lessons), "tokens": tokens})
