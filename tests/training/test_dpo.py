"""Trainings for real, on a tiny random model: what the checks see, and that they can fail."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from iterdpo.engines.base import TokenSequence
from iterdpo.engines.transformers import TransformersEngine
from iterdpo.errors import LineageError, UserError
from iterdpo.models.canary import Canary
from iterdpo.records import Adapter, Base, Policy
from iterdpo.store.hashing import file_sha256
from iterdpo.store.tables import read_records, write_records
from iterdpo.training import __main__, adapters, checks, run
from iterdpo.training.losses import LOSSES
from iterdpo.training.spec import DpoSpec, PairExample
from iterdpo.training.train import make_trainer, train
from tests.logprobs import sums
from tests.narrowing import present
from tests.training.conftest import MakeSpec, Trained

set_reference = adapters.set_reference

WEIGHTS = "adapter/adapter_model.safetensors"


@pytest.fixture
def first(make_spec: MakeSpec, trained: Trained) -> Policy:
    """A policy that was trained once."""
    return policy_in(trained(make_spec()), make_spec().base)


def policy_in(out: Path, base: Base, name: str = "M1") -> Policy:
    report = json.loads((out / "training.json").read_text())
    return Policy(name, base, Adapter(str(out / "adapter"), report["adapter_sha256"]))


def policy_after(spec: DpoSpec, out: Path, name: str = "M1") -> Policy:
    train(spec, out)
    return policy_in(out, spec.base, name)


@pytest.mark.parametrize("quantization", ["none", "nf4", "nf4-double", "int8"])
def test_step_0_is_ln_2_and_the_loss_falls_on_every_kind_of_base(
    make_spec: MakeSpec, tmp_path: Path, quantization: str
) -> None:
    spec = make_spec(quantization, epochs=10, batch_size=6, micro_batch_size=6)
    report = train(spec, tmp_path)
    assert report["step0"]["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert report["step0"]["largest_reward"] == pytest.approx(0, abs=1e-4)
    losses = [entry["loss"] for entry in report["history"]]
    assert len(losses) == report["steps"] == 10
    # Training through the nf4-on-CPU trap moves the loss by a few percent at most.
    assert losses[-1] < 0.8 * losses[0]
    assert report["adapter_sha256"] == file_sha256(tmp_path / WEIGHTS)


@pytest.mark.parametrize("quantization", ["none", "nf4", "nf4-double"])
def test_the_engine_on_the_image_computes_what_the_trainer_computed(
    make_spec: MakeSpec, engine: TransformersEngine, tmp_path: Path, quantization: str
) -> None:
    spec = make_spec(quantization)
    policy = policy_after(spec, tmp_path)
    canary = Canary.read(tmp_path / "canary.json")
    assert canary.noise < 1e-4  # engine and trainer on the policy before training
    texts = [TokenSequence(text.prompt_ids, text.token_ids) for text in canary.texts]
    measured = engine.sequence_logprobs(texts, policy)
    assert sums(measured) == pytest.approx(sums(text.after for text in canary.texts), abs=1e-4)
    assert max(abs(text.moved) for text in canary.texts) > 0.1


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_step_0_of_every_loss_is_the_papers_arithmetic(
    make_spec: MakeSpec, first: Policy, tmp_path: Path, loss: str
) -> None:
    # From an adapter other than the reference, so that no term is 0 or ln 2 by symmetry.
    spec = make_spec(
        policy=first,
        loss=(loss,),
        label_smoothing=0.1 if loss in ("robust", "exo_pair", "aot", "aot_unpaired") else 0.0,
        reference_adapter=None,
        reference_is_start=False,
    )
    step0 = train(spec, tmp_path / "second")["step0"]
    assert step0["loss"] == pytest.approx(step0["expected_loss"], rel=1e-4)
    assert step0["largest_reward"] > 1e-3


def test_a_mixture_is_trained_with_its_weights(make_spec: MakeSpec, tmp_path: Path) -> None:
    spec = make_spec(loss=("sigmoid", "sft"), loss_weights=(1.0, 0.2))
    step0 = train(spec, tmp_path)["step0"]
    assert step0["loss"] == pytest.approx(step0["expected_loss"], rel=1e-5)
    assert step0["loss"] > math.log(2)


def test_the_new_adapter_starts_as_a_copy_of_the_previous_one(
    make_spec: MakeSpec, first: Policy, tmp_path: Path
) -> None:
    spec = make_spec(policy=first, learning_rate=1e-12)
    second = policy_after(spec, tmp_path / "second")
    before, after = (
        load_file(f"{present(policy.adapter).path}/adapter_model.safetensors")
        for policy in (first, second)
    )
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert torch.allclose(tensor, after[name], atol=1e-9), name


@pytest.mark.parametrize("kind", ["previous", "initial", "base"])
def test_dpo_measures_against_the_reference_it_was_given(
    make_spec: MakeSpec,
    first: Policy,
    trained: Trained,
    engine: TransformersEngine,
    tmp_path: Path,
    kind: str,
) -> None:
    one, two = first, policy_in(trained(make_spec(policy=first)), first.base, "M2")
    reference = {"previous": two, "initial": one, "base": Policy("M0", two.base)}[kind]
    spec = make_spec(
        policy=two,
        batch_size=6,
        micro_batch_size=6,
        reference_adapter=reference.adapter.path if reference.adapter else None,
        reference_is_start=kind == "previous",
    )
    report = train(spec, tmp_path / "three")
    # By the engine, which knows nothing of TRL: mean -log sigma(beta d) over all six pairs.
    examples = read_records(tmp_path / "examples.parquet", PairExample)
    chosen = [TokenSequence(tuple(e.prompt_ids), tuple(e.chosen_ids)) for e in examples]
    rejected = [TokenSequence(tuple(e.prompt_ids), tuple(e.rejected_ids)) for e in examples]
    ours, theirs = (
        [
            a - b
            for a, b in zip(
                sums(engine.sequence_logprobs(chosen, policy)),
                sums(engine.sequence_logprobs(rejected, policy)),
                strict=True,
            )
        ]
        for policy in (two, reference)
    )
    losses = [math.log1p(math.exp(-0.1 * (a - b))) for a, b in zip(ours, theirs, strict=True)]
    assert report["step0"]["loss"] == pytest.approx(sum(losses) / 6, abs=1e-4)


def test_a_reference_that_is_not_the_one_named_stops_the_training(
    make_spec: MakeSpec, first: Policy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mistake of LLaMA-Factory#8459 and trl#6591: DPO against the base instead."""
    monkeypatch.setattr(
        adapters,
        "set_reference",
        lambda model, spec: set_reference(
            model,
            dataclasses.replace(spec, reference_is_start=False, reference_adapter=None),
        ),
    )
    with pytest.raises(LineageError, match="start as its reference, and their weights differ"):
        train(make_spec(policy=first), tmp_path / "second")
    monkeypatch.setattr(adapters.AdapterLearner, "_check_reference_is_start", lambda _: None)
    with pytest.raises(LineageError, match="every reward must be 0"):
        train(make_spec(policy=first), tmp_path / "second")
    assert not (tmp_path / "second" / "adapter").exists()


def test_a_policy_that_trl_rounded_to_bfloat16_stops_the_training(
    make_spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = policy_after(make_spec("nf4", learning_rate=0.2), tmp_path / "first")
    monkeypatch.setattr(adapters, "restore_policy", lambda model, spec, weights: None)
    with pytest.raises(LineageError, match="their weights differ"):
        train(make_spec(policy=first), tmp_path / "second")
    monkeypatch.setattr(adapters.AdapterLearner, "_check_reference_is_start", lambda _: None)
    with pytest.raises(LineageError, match="step 0"):
        train(make_spec(policy=first), tmp_path / "second")


def test_an_adapter_file_that_does_not_fit_stops_the_training(
    make_spec: MakeSpec, tmp_path: Path
) -> None:
    """schauppi's mistake: keys that cannot match, and training starts over without a word."""
    from safetensors.torch import save_file

    first = policy_after(make_spec(), tmp_path / "first")
    path = tmp_path / "first" / WEIGHTS
    save_file({f"other.{name}": t for name, t in load_file(path).items()}, path)
    with pytest.raises(LineageError, match="tensors differ"):
        train(make_spec_without_engine(make_spec, first, tmp_path), tmp_path / "second")


def make_spec_without_engine(make_spec: MakeSpec, policy: Policy, tmp_path: Path) -> DpoSpec:
    # The engine would refuse the adapter as well: let the base write, and train from the adapter.
    bare = make_spec(policy=Policy("M0", policy.base))
    assert policy.adapter is not None
    return dataclasses.replace(bare, policy_adapter=policy.adapter.path)


def test_a_gradient_outside_the_policys_adapter_stops_the_training(
    make_spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unfreeze(model: Any, spec: Any) -> None:
        set_reference(model, spec)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_("norm" in name or parameter.requires_grad)

    monkeypatch.setattr(adapters, "set_reference", unfreeze)
    with pytest.raises(LineageError, match=r"a gradient reached .*norm"):
        train(make_spec(), tmp_path)


def test_a_reference_that_changes_is_noticed(
    make_spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of policy and reference at the start, which are the same, then of the reference twice.
    hashes = iter(["before", "before", "before", "after"])
    monkeypatch.setattr(adapters, "adapter_sha256", lambda model, name: next(hashes))
    with pytest.raises(LineageError, match="the reference changed"):
        train(make_spec(), tmp_path)


def test_an_adapters_hash_follows_its_weights(make_spec: MakeSpec) -> None:
    model = adapters.load_policy(make_spec())
    before = checks.adapter_sha256(model, "default")
    assert before == checks.adapter_sha256(model, "default")
    for name, parameter in model.named_parameters():
        if "lora_B.default" in name:
            parameter.data[0, 0] += 1e-6
            break
    assert before != checks.adapter_sha256(model, "default")


def test_a_training_that_diverges_says_what_to_lower(make_spec: MakeSpec, tmp_path: Path) -> None:
    spec = make_spec(learning_rate=1e30, epochs=4)
    with pytest.raises(UserError, match=r"training\.learning_rate"):
        train(spec, tmp_path)


@pytest.mark.parametrize(
    ("warmup", "schedule", "expected"),
    [
        (0.1, "linear", [1.0]),  # a rise of one step, whose rate is 0, would be all
        (0.1, "linear", [0.0, 1.0]),
        (0.5, "constant", [0.0, 0.5, 1.0, 1.0]),
        (1.0, "constant", [0.0, 1 / 3, 2 / 3, 1.0]),
        (0.0, "constant", [1.0, 1.0]),
    ],
)
def test_the_rate_rises_over_its_share_of_the_steps_and_ends_full(
    make_spec: MakeSpec, tmp_path: Path, warmup: float, schedule: str, expected: list[float]
) -> None:
    spec = make_spec(
        pairs=6, batch_size=6, micro_batch_size=6, epochs=len(expected), warmup=warmup,
        schedule=schedule, learning_rate=1e-3,
    )  # fmt: skip
    report = train(spec, tmp_path)
    rates = [entry["learning_rate"] for entry in report["history"]]
    assert rates == pytest.approx([1e-3 * share for share in expected])
    canary = Canary.read(tmp_path / "canary.json")
    assert any(text.after != text.before for text in canary.texts)


def test_a_child_that_fails_says_why(
    make_spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Child(subprocess.Popen[bytes]):
        """Runs in this process, which has the libraries loaded; a real one: ``test_resume``."""

        def __init__(self, command: Any, **kwargs: Any) -> None:
            assert command[1:3] == ["-m", "iterdpo.training"]
            self.status = __main__.main(*command[3:])
            super().__init__([sys.executable, "-c", f"exit({self.status})"], **kwargs)

    monkeypatch.setattr(subprocess, "Popen", Child)
    spec = make_spec(process="spawn", learning_rate=1e30, epochs=4)
    with pytest.raises(UserError, match=r"training\.learning_rate"):
        run.run_training(spec, tmp_path, "M1 trains")
    monkeypatch.setattr(__main__, "main", lambda *arguments: 7)
    (tmp_path / "training-failure.json").unlink()
    with pytest.raises(RuntimeError, match="status 7"):
        run.run_training(spec, tmp_path, "M1 trains")


def test_the_trainer_sees_the_engines_tokens(make_spec: MakeSpec, tmp_path: Path) -> None:
    from iterdpo.models.loading import load_tokenizer

    spec = make_spec()
    # Token ids that no tokenizer would write for their text: 5, 5, 5 is not how "555" is spelled.
    odd = [PairExample((7, 8), (5, 5, 5), (6, 2), (-1.0,) * 3, (-1.0,) * 2)] * 3
    write_records(tmp_path / "odd", PairExample, odd)
    trainer = make_trainer(
        adapters.AdapterLearner(spec), load_tokenizer(spec.base.path), odd, spec, None
    )
    batch = next(iter(trainer.get_train_dataloader()))
    assert batch["input_ids"][0].tolist() == [7, 8, 5, 5, 5]
    assert batch["completion_mask"][0].tolist() == [0, 0, 1, 1, 1]
