"""ORPO trainings for real, on a tiny random model: what is proven, and that the checks can fail."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from iterdpo.engines.base import TokenSequence
from iterdpo.engines.transformers import TransformersEngine
from iterdpo.engines.verified import VerifiedEngine
from iterdpo.errors import LineageError, UserError
from iterdpo.models.canary import Canary
from iterdpo.models.loading import load_tokenizer
from iterdpo.records import Policy
from iterdpo.stages.policies import trained_policy
from iterdpo.store.hashing import file_sha256
from iterdpo.store.tables import read_records
from iterdpo.training import orpo_trainer
from iterdpo.training.adapters import AdapterLearner
from iterdpo.training.canary import noted_logprobs, watched_texts
from iterdpo.training.full_weights import FullLearner
from iterdpo.training.learners import load_learner
from iterdpo.training.spec import OrpoSpec, PairExample, read_spec
from iterdpo.training.train import make_trainer, train
from tests.training.conftest import Files, MakeSpec, odds_spec
from tests.training.test_accumulation import PAIRS, STILL, Gradients, uneven

WEIGHTS = "adapter/adapter_model.safetensors"


@pytest.fixture
def make_odds(make_spec: MakeSpec) -> Callable[..., OrpoSpec]:
    """A function that asks for an ORPO training."""
    return lambda *args, **changes: odds_spec(make_spec(*args, **changes))


def base_weights(model: Any) -> dict[str, torch.Tensor]:
    return {n: w.detach().clone() for n, w in model.named_parameters() if "lora_" not in n}


@pytest.mark.parametrize("quantization", ["none", "nf4", "nf4-double", "int8"])
def test_step_0_is_the_papers_arithmetic_and_the_loss_falls(
    make_odds: Callable[..., OrpoSpec],
    tmp_path: Path,
    quantization: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    learners: list[AdapterLearner] = []
    bare: dict[str, torch.Tensor] = {}
    begin = AdapterLearner.begin

    def noted(self: AdapterLearner) -> None:
        begin(self)
        bare.update(base_weights(self.model))
        learners.append(self)

    monkeypatch.setattr(AdapterLearner, "begin", noted)
    spec = make_odds(quantization, epochs=8, batch_size=6, micro_batch_size=6)
    report = train(spec, tmp_path)
    assert report["step0"]["loss"] == pytest.approx(report["step0"]["expected_loss"], rel=1e-4)
    losses = [entry["loss"] for entry in report["history"]]
    assert len(losses) == report["steps"] == 8
    assert losses[-1] < losses[0] - 0.15  # of 5.7, the logarithm of the vocabulary's size
    odds = [entry["log_odds_chosen"] for entry in report["history"]]
    assert odds[-1] > odds[0]
    assert report["adapter_sha256"] == file_sha256(tmp_path / WEIGHTS)
    assert any(tensor.any() for tensor in load_file(tmp_path / WEIGHTS).values())
    (learner,) = learners
    after = base_weights(learner.model)
    assert all(torch.equal(weight, after[name]) for name, weight in bare.items())
    assert list(learner.model.peft_config) == ["default"]  # there is no reference


@pytest.mark.parametrize("lora", ["adapter", "all weights"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_step_0_holds_in_half_types(
    make_odds: Callable[..., OrpoSpec], tmp_path: Path, dtype: str, lora: str
) -> None:
    spec = make_odds(beta=1.0, learning_rate=1e-4, batch_size=6, micro_batch_size=3)
    if dtype == "float16" and not torch.cuda.is_available():
        pytest.skip("a CPU does not train in float16")
    base = dataclasses.replace(spec.base, dtype=dtype)
    spec = dataclasses.replace(spec, base=base, lora=spec.lora if lora == "adapter" else None)
    report = train(spec, tmp_path)
    assert report["step0"]["loss"] == pytest.approx(report["step0"]["expected_loss"], rel=1e-4)


def test_the_engine_applies_what_was_trained(
    make_odds: Callable[..., OrpoSpec], engine: TransformersEngine, tmp_path: Path
) -> None:
    spec = make_odds("nf4")
    train(spec, tmp_path)
    policy = trained_policy("M1", tmp_path, Policy("M0", spec.base))
    verified = VerifiedEngine(engine)
    verified.verify(policy)
    assert verified.results[policy.fingerprint].outcome == "applied"


def test_answers_of_others_are_measured_by_the_engine(
    make_odds: Callable[..., OrpoSpec], engine: TransformersEngine, tmp_path: Path
) -> None:
    """Their noise is what engine and trainer differ by on them, whoever wrote them."""
    spec = make_odds()
    examples = read_records(Path(spec.examples), PairExample)
    given = [dataclasses.replace(e, chosen_logprobs=(), rejected_logprobs=()) for e in examples]
    texts = watched_texts(given)
    assert noted_logprobs(given) == []
    start = Policy("M0", spec.base)
    measured = tuple(engine.sequence_logprobs([TokenSequence(*text) for text in texts], start))
    train(dataclasses.replace(spec, engine_logprobs=measured), tmp_path / "out")
    assert Canary.read(tmp_path / "out" / "canary.json").noise < 1e-4
    wrong = tuple(tuple(value - 9 for value in text) for text in measured)
    with pytest.raises(LineageError, match=r"engine\.max_gap=0\.05"):
        train(
            dataclasses.replace(spec, engine_logprobs=wrong, max_engine_gap=0.05), tmp_path / "no"
        )


def test_prompts_in_the_odds_stop_the_training(
    make_odds: Callable[..., OrpoSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = orpo_trainer.by_side

    def spoiled(batch: Any) -> Any:
        halves = right(batch)
        return halves | {"chosen_labels": halves["chosen_input_ids"]}

    monkeypatch.setattr(orpo_trainer, "by_side", spoiled)
    with pytest.raises(LineageError, match="other tokens are learned"):
        train(make_odds(), tmp_path)
    assert not (tmp_path / "adapter").exists()


def test_a_gradient_outside_the_adapter_stops_the_training(
    make_odds: Callable[..., OrpoSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = AdapterLearner.begin

    def thaw(self: Any) -> None:
        begin(self)
        next(p for n, p in self.model.named_parameters() if "norm" in n).requires_grad_(True)

    monkeypatch.setattr(AdapterLearner, "begin", thaw)
    with pytest.raises(LineageError, match="not the policy's adapter"):
        train(make_odds(), tmp_path)


def test_a_training_that_diverges_says_what_to_lower(
    make_odds: Callable[..., OrpoSpec], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"training\.learning_rate"):
        train(make_odds(learning_rate=1e30, epochs=4), tmp_path)


def test_it_goes_on_from_a_checkpoint_with_the_same_bytes(
    make_odds: Callable[..., OrpoSpec], files: Files, tmp_path: Path
) -> None:
    spec = make_odds(epochs=2, checkpoints=str(tmp_path / "kept"), checkpoint_steps=1)
    train(dataclasses.replace(spec, checkpoints=None), tmp_path / "whole")

    def stop(done: int, total: int) -> None:
        if done == 3:
            raise SystemExit

    with pytest.raises(SystemExit):
        train(spec, tmp_path / "interrupted", stop)
    steps: list[int] = []
    train(spec, tmp_path / "again", lambda done, total: steps.append(done))
    assert steps[0] == 3
    assert files(tmp_path / "again") == files(tmp_path / "whole")


def test_a_batch_has_one_gradient_however_it_is_divided(make_odds: Callable[..., OrpoSpec]) -> None:
    spec = make_odds(pairs=PAIRS, batch_size=8, micro_batch_size=8, **STILL)
    uneven(spec)
    tokenizer = load_tokenizer(spec.base.path)
    examples = read_records(Path(spec.examples), PairExample)

    def gradients(micro: int, memory: int) -> Any:
        torch.manual_seed(0)
        training = dataclasses.replace(spec.training, micro_batch_size=micro)
        asked = dataclasses.replace(spec, training=training)
        learner = load_learner(asked)
        for name, weight in learner.model.named_parameters():
            if "lora_B" in name:
                weight.data.normal_(std=0.05)
                assert isinstance(learner, AdapterLearner)
                learner._start[name] = weight.data.clone()
        trainer = make_trainer(learner, tokenizer, examples, asked, None)
        learner.begin()
        trainer.progress.micro_batch_sizes.append(memory)
        kept = Gradients()
        trainer.add_callback(kept)
        trainer.train()
        return kept.steps, trainer.progress

    whole, told = gradients(8, 8)
    assert len(whole) == 2
    for micro, memory in ((2, 2), (8, 3)):
        steps, same = gradients(micro, memory)
        for ours, theirs in zip(steps, whole, strict=True):
            assert (ours - theirs).norm() < 1e-5 * theirs.norm()
        for entry, other in zip(same.history, told.history, strict=True):
            assert entry["loss"] == pytest.approx(other["loss"], rel=1e-5)
        assert same.step_zero.expected_loss == pytest.approx(told.step_zero.loss, rel=1e-5)


def test_every_weight_is_trained_without_a_second_model(
    make_odds: Callable[..., OrpoSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learners: list[FullLearner] = []
    begin = FullLearner.begin

    def noted(self: FullLearner) -> None:
        begin(self)
        learners.append(self)

    monkeypatch.setattr(FullLearner, "begin", noted)
    spec = make_odds(lora=None, learning_rate=1e-3)
    report = train(spec, tmp_path)
    assert report["step0"]["loss"] == pytest.approx(report["step0"]["expected_loss"], rel=1e-4)
    assert learners[0].reference is None
    before = load_file(f"{spec.base.path}/model.safetensors")
    after = load_file(tmp_path / "model" / "model.safetensors")
    assert all(not torch.equal(before[name], after[name]) for name in before)


def test_the_trainer_sees_the_tokens_it_was_given(make_odds: Callable[..., OrpoSpec]) -> None:
    # Token ids that no tokenizer would write for their text.
    odd = [PairExample((7, 8), (5, 5, 5), (6, 2), (), ())] * 3
    spec = make_odds()
    tokenizer = load_tokenizer(spec.base.path)
    trainer = make_trainer(load_learner(spec), tokenizer, odd, spec, None)
    batch = next(iter(trainer.get_train_dataloader()))
    halves = orpo_trainer.by_side(batch)
    assert halves["chosen_input_ids"][0].tolist() == [7, 8, 5, 5, 5]
    assert halves["chosen_labels"][0].tolist() == [-100, -100, 5, 5, 5]
    assert halves["rejected_labels"][0].tolist() == [-100, -100, 6, 2, -100]
    assert halves["rejected_attention_mask"][0].tolist() == [1, 1, 1, 1, 0]


def test_a_spec_is_read_back_as_what_it_is(
    make_odds: Callable[..., OrpoSpec], tmp_path: Path
) -> None:
    spec = make_odds()
    spec.write(tmp_path / "spec.json")
    assert read_spec(tmp_path / "spec.json") == spec
    assert isinstance(read_spec(tmp_path / "spec.json"), OrpoSpec)
