"""However a batch is divided into micro batches, its gradient is that of the whole batch."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from iterdpo.models.loading import load_tokenizer
from iterdpo.store.tables import read_records, write_records
from iterdpo.training.adapters import AdapterLearner
from iterdpo.training.learners import load_learner
from iterdpo.training.spec import AnySpec, DpoSpec, OrpoSpec, PairExample, SftExample
from iterdpo.training.train import make_trainer, train
from tests.training.conftest import MakeLessons, MakeSpec

PAIRS = 11  # an optimizer step of 8, and an incomplete one of 3
STILL = {"optimizer": "sgd", "learning_rate": 1e-12, "max_grad_norm": 1e9}
MIXED = {"loss": ("sigmoid", "sft"), "loss_weights": (1.0, 0.5)}


class Gradients(TrainerCallback):
    """Keeps the gradient of every optimizer step, as one vector."""

    def __init__(self) -> None:
        self.steps: list[torch.Tensor] = []

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        trained = [weight for weight in kwargs["model"].parameters() if weight.requires_grad]
        self.steps.append(torch.cat([weight.grad.double().flatten() for weight in trained]))


def uneven(spec: DpoSpec | OrpoSpec) -> None:
    """Make the answers of a spec's examples 1 to 8 tokens long, in no order of length."""
    examples = read_records(Path(spec.examples), PairExample)
    cut = [
        dataclasses.replace(
            example,
            chosen_ids=example.chosen_ids[: 1 + (5 * number) % 8],
            chosen_logprobs=example.chosen_logprobs[: 1 + (5 * number) % 8],
        )
        for number, example in enumerate(examples)
    ]
    assert len({len(example.chosen_ids) for example in cut}) > 3
    write_records(Path(spec.examples), PairExample, cut)


def gradients(spec: AnySpec) -> tuple[list[torch.Tensor], list[float]]:
    """Return the gradient and the loss of every step of a training that moves nothing."""
    torch.manual_seed(0)
    learner = load_learner(spec)
    if spec.lora is not None:  # a fresh adapter's update is zero, and so are half of its gradients
        for name, weight in learner.model.named_parameters():
            if "lora_B" in name:
                weight.data.normal_(std=0.05)
        assert isinstance(learner, AdapterLearner)
        learner._start.update(
            {n: w.data.clone() for n, w in learner.model.named_parameters() if n in learner._start}
        )
    tokenizer = load_tokenizer(spec.base.path)
    examples = read_records(Path(spec.examples), PairExample)
    trainer = make_trainer(learner, tokenizer, examples, spec, None)
    learner.begin()
    kept = Gradients()
    trainer.add_callback(kept)
    trainer.train()
    return kept.steps, [entry["loss"] for entry in trainer.progress.history]


@pytest.mark.parametrize("lora", ["adapter", "all weights"])
@pytest.mark.parametrize("changes", [{}, MIXED, {"loss": ("sft",)}, {"loss": ("ipo",)}])
def test_one_micro_batch_of_8_is_four_of_2(
    make_spec: MakeSpec, changes: dict[str, Any], lora: str
) -> None:
    spec = make_spec(
        pairs=PAIRS, batch_size=8, micro_batch_size=8, **(STILL | changes),
        **({"lora": None, "reference_adapter": None} if lora == "all weights" else {}),
    )  # fmt: skip
    uneven(spec)
    small = dataclasses.replace(spec.training, micro_batch_size=2)
    whole, losses = gradients(spec)
    parts, same_losses = gradients(dataclasses.replace(spec, training=small))
    assert len(whole) == len(parts) == 2
    for ours, theirs in zip(parts, whole, strict=True):
        assert (ours - theirs).norm() < 1e-6 * theirs.norm()
    assert same_losses == pytest.approx(losses, rel=1e-6)


def test_a_micro_batch_that_adds_nothing_is_no_mistake(make_spec: MakeSpec, tmp_path: Path) -> None:
    """A batch whose ``sft`` has tokens in one of its micro batches only."""
    spec = make_spec(pairs=2, batch_size=2, micro_batch_size=1, loss=("sft",), **STILL)
    one, other = read_records(Path(spec.examples), PairExample)
    empty = dataclasses.replace(other, chosen_ids=(), chosen_logprobs=())
    write_records(Path(spec.examples), PairExample, [one, empty])
    report = train(spec, tmp_path)
    alone = make_spec(pairs=2, batch_size=1, micro_batch_size=1, loss=("sft",), **STILL)
    write_records(Path(alone.examples), PairExample, [one])
    expected = train(alone, tmp_path / "alone")
    assert report["history"][0]["loss"] == pytest.approx(expected["history"][0]["loss"], rel=1e-5)


def test_step_0_is_proven_over_the_whole_first_step(make_spec: MakeSpec, tmp_path: Path) -> None:
    spec = make_spec(pairs=PAIRS, batch_size=8, micro_batch_size=2, **(STILL | MIXED))
    uneven(spec)
    report = train(spec, tmp_path)
    assert report["step0"]["loss"] == pytest.approx(report["history"][0]["loss"], rel=1e-6)
    assert report["step0"]["expected_loss"] == pytest.approx(report["step0"]["loss"], rel=1e-4)


def test_lessons_count_by_their_tokens(make_sft_spec: MakeLessons) -> None:
    """``SFTTrainer`` is told the tokens of the whole step; parts for memory keep to it."""
    found = []
    for micro, memory in ((8, 8), (2, 2), (8, 3)):
        spec = make_sft_spec(batch_size=8, micro_batch_size=micro, **STILL)
        torch.manual_seed(0)  # a fresh adapter is drawn
        learner = load_learner(spec)
        examples = read_records(Path(spec.examples), SftExample)
        assert len({len(example.answer_ids) for example in examples}) > 3
        trainer = make_trainer(learner, load_tokenizer(spec.base.path), examples, spec, None)
        learner.begin()
        trainer.progress.micro_batch_sizes.append(memory)
        kept = Gradients()
        trainer.add_callback(kept)
        trainer.train()
        found.append(kept.steps)
    whole = found[0]
    assert len(whole) == 2
    for steps in found[1:]:
        for ours, theirs in zip(steps, whole, strict=True):
            assert (ours - theirs).norm() < 1e-6 * theirs.norm()
