"""Training of every weight, for real, on a tiny random model."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from iterdpo.engines.base import TokenSequence
from iterdpo.engines.transformers import TransformersEngine
from iterdpo.engines.verified import VerifiedEngine
from iterdpo.errors import LineageError
from iterdpo.models.canary import Canary
from iterdpo.models.checkpoint import checkpoint_sha256, copy_all_but_weights
from iterdpo.records import Policy
from iterdpo.stages.policies import trained_policy
from iterdpo.store.tables import read_records
from iterdpo.training.full_weights import FullLearner
from iterdpo.training.spec import DpoSpec, PairExample
from iterdpo.training.train import train
from tests.logprobs import sums
from tests.narrowing import present
from tests.training.conftest import BaseOf, Files, MakeLessons, MakeSpec

WEIGHTS = "model/model.safetensors"


@pytest.fixture
def make_full(make_spec: MakeSpec, base_of: BaseOf) -> MakeSpec:
    """A function that asks for a training of every weight."""

    def make(policy: Policy | None = None, **changes: Any) -> DpoSpec:
        policy = policy or Policy("M0", base_of("none"))
        changes = {"learning_rate": 1e-3, "reference_base": policy.base} | changes
        return make_spec(policy=policy, lora=None, reference_adapter=None, **changes)

    return make


@pytest.fixture
def first(make_full: MakeSpec, tmp_path: Path) -> Policy:
    """A policy that was trained once."""
    spec = make_full()
    train(spec, tmp_path / "first")
    return trained_policy("M1", tmp_path / "first", Policy("M0", spec.base))


def test_step_0_is_ln_2_and_every_weight_moves(make_full: MakeSpec, tmp_path: Path) -> None:
    spec = make_full(epochs=8, batch_size=6, micro_batch_size=6)
    report = train(spec, tmp_path / "out")
    assert report["step0"]["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert report["step0"]["largest_reward"] == pytest.approx(0, abs=1e-4)
    losses = [entry["loss"] for entry in report["history"]]
    assert losses[-1] < 0.5 * losses[0]
    before = load_file(f"{spec.base.path}/model.safetensors")
    after = load_file(tmp_path / "out" / WEIGHTS)
    assert before.keys() == after.keys()
    assert all(not torch.equal(before[name], after[name]) for name in before)
    assert report["weights_sha256"] == checkpoint_sha256(tmp_path / "out" / "model")


def test_the_policy_is_a_checkpoint_that_stands_alone(first: Policy, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    assert first.adapter is None
    assert first.trained_in == tmp_path / "first"
    AutoModelForCausalLM.from_pretrained(first.base.path)
    assert AutoTokenizer.from_pretrained(first.base.path).chat_template
    assert first.base.sha256 == checkpoint_sha256(Path(first.base.path))


@pytest.mark.parametrize("kind", ["previous", "initial"])
def test_dpo_measures_against_the_reference_it_was_given(
    make_full: MakeSpec,
    first: Policy,
    base_of: BaseOf,
    engine: TransformersEngine,
    tmp_path: Path,
    kind: str,
) -> None:
    initial = Policy("M0", base_of("none"))
    reference = {"previous": first, "initial": initial}[kind]
    spec = make_full(
        first, batch_size=6, micro_batch_size=6, reference_base=reference.base,
        reference_is_start=kind == "previous",
    )  # fmt: skip
    report = train(spec, tmp_path / "second")
    examples = read_records(tmp_path / "examples.parquet", PairExample)
    margins = []
    for policy in (first, reference):
        chosen, rejected = (
            engine.sequence_logprobs(
                [
                    TokenSequence(tuple(e.prompt_ids), tuple(getattr(e, f"{side}_ids")))
                    for e in examples
                ],
                policy,
            )
            for side in ("chosen", "rejected")
        )
        margins.append([a - b for a, b in zip(sums(chosen), sums(rejected), strict=True)])
    losses = [math.log1p(math.exp(-0.1 * (a - b))) for a, b in zip(*margins, strict=True)]
    assert report["step0"]["loss"] == pytest.approx(sum(losses) / 6, abs=1e-5)
    assert (report["step0"]["largest_reward"] < 1e-5) == (kind == "previous")


def test_another_reference_than_the_one_named_stops_the_training(
    make_full: MakeSpec, first: Policy, base_of: BaseOf, tmp_path: Path
) -> None:
    # Said to be the start, and loaded from M0.
    spec = make_full(first, reference_base=base_of("none"))
    with pytest.raises(LineageError, match="every reward must be 0"):
        train(spec, tmp_path / "second")
    assert not (tmp_path / "second").exists()


def test_a_weight_that_is_left_out_stops_the_training(
    make_full: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = FullLearner.begin

    def freeze(self: Any) -> None:
        real(self)
        self.model.model.norm.weight.requires_grad_(False)

    monkeypatch.setattr(FullLearner, "begin", freeze)
    with pytest.raises(LineageError, match=r"no gradient reached model\.norm\.weight"):
        train(make_full(), tmp_path)


def test_a_reference_that_would_learn_stops_the_training(
    make_full: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = FullLearner.begin

    def thaw(self: Any) -> None:
        real(self)
        self.reference.model.norm.weight.requires_grad_(True)

    monkeypatch.setattr(FullLearner, "begin", thaw)
    with pytest.raises(LineageError, match=r"model\.norm\.weight of the reference"):
        train(make_full(), tmp_path)


def test_a_reference_that_changes_is_noticed(
    make_full: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FullLearner, "check_gradients", spoil)
    with pytest.raises(LineageError, match="the reference changed"):
        train(make_full(), tmp_path)
    assert not (tmp_path / "model").exists()


def spoil(learner: FullLearner) -> None:
    """Move the reference after it was proven."""
    next(present(learner.reference).parameters()).data.add_(1e-6)


def test_the_engine_loads_each_policy_and_proves_it(
    make_full: MakeSpec, first: Policy, engine: TransformersEngine, tmp_path: Path
) -> None:
    spec = make_full(first)
    train(spec, tmp_path / "second")
    second = trained_policy("M2", tmp_path / "second", first)
    verified = VerifiedEngine(engine)
    starts = engine.starts
    for policy in (first, second, first, second):
        verified.verify(policy)
        assert verified.results[policy.fingerprint].outcome == "applied"
    # Coming back to the second loads it again, and proves it. The first may be loaded already.
    assert engine.starts - starts == 4 - (starts > 0)
    texts = Canary.read(tmp_path / "second" / "canary.json").texts
    asked = [TokenSequence(text.prompt_ids, text.token_ids) for text in texts]
    for policy, name in ((first, "before"), (second, "after")):
        measured = engine.sequence_logprobs(asked, policy)
        assert sums(measured) == pytest.approx(
            sums(getattr(text, name) for text in texts), abs=1e-4
        )


def test_an_engine_with_the_weights_of_before_is_caught(
    first: Policy, base_of: BaseOf, engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = TransformersEngine._load_base

    def stale(self: Any, base: Any) -> None:
        real(self, dataclasses.replace(base, dequantized=base_of("none").dequantized))

    monkeypatch.setattr(TransformersEngine, "_load_base", stale)
    with pytest.raises(LineageError, match="asked for M1 and answers like the policy before"):
        VerifiedEngine(engine).verify(first)


@pytest.mark.parametrize("step", [1, 3])
def test_it_goes_on_from_a_checkpoint_with_the_same_bytes(
    make_full: MakeSpec, files: Files, tmp_path: Path, step: int
) -> None:
    spec = make_full(epochs=2, checkpoints=str(tmp_path / "kept"), checkpoint_steps=1)
    train(dataclasses.replace(spec, checkpoints=None), tmp_path / "whole")

    def stop(done: int, total: int) -> None:
        if done == step:
            raise SystemExit

    with pytest.raises(SystemExit):
        train(spec, tmp_path / "interrupted", stop)
    steps: list[int] = []
    train(spec, tmp_path / "again", lambda done, total: steps.append(done))
    assert steps[0] == step
    assert files(tmp_path / "again") == files(tmp_path / "whole")


def test_half_types_are_computed_in_and_weights_stay_in_float32(
    make_full: MakeSpec, tmp_path: Path
) -> None:
    spec = make_full(learning_rate=1e-6)
    spec = dataclasses.replace(
        spec,
        base=dataclasses.replace(spec.base, dtype="bfloat16"),
        reference_base=dataclasses.replace(spec.base, dtype="bfloat16"),
    )
    report = train(spec, tmp_path / "out")
    assert report["step0"]["loss"] == pytest.approx(math.log(2), abs=1e-6)
    before = load_file(f"{spec.base.path}/model.safetensors")
    after = load_file(tmp_path / "out" / WEIGHTS)
    # Steps of 1e-6 are below half a unit in the last place of bfloat16 weights of 0.02.
    moved = [(after[name] - before[name]).abs().max().item() for name in before]
    assert 0 < max(moved) < 1e-5
    assert all(tensor.dtype == torch.float32 for tensor in after.values())


def test_fine_tuning_of_every_weight_makes_a_checkpoint(
    make_sft_spec: MakeLessons, engine: TransformersEngine, tmp_path: Path
) -> None:
    spec = make_sft_spec(lora=None, learning_rate=3e-3, epochs=6)
    report = train(spec, tmp_path)
    assert report["history"][-1]["loss"] < 0.7 * report["history"][0]["loss"]
    policy = trained_policy("M0", tmp_path, Policy("M0", spec.base))
    verified = VerifiedEngine(engine)
    verified.verify(policy)
    assert verified.results[policy.fingerprint].outcome == "applied"


def test_everything_but_weights_is_copied(tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    source.mkdir()
    target.mkdir()
    names = ["config.json", "tokenizer.json", "chat_template.jinja", "modeling.py"]
    for name in [*names, "model.safetensors", "model.safetensors.index.json", "x.bin"]:
        (source / name).write_text('{"quantization_config": {}, "a": 1}')
    copy_all_but_weights(source, target)
    assert sorted(path.name for path in target.iterdir()) == sorted(names)
    # The weights that come beside it are plain ones.
    assert json.loads((target / "config.json").read_text()) == {"a": 1}
