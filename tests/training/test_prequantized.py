"""Trainings for real on bases that come packed, on a CPU and without any package of kernels."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file

from iterdpo.config.model import LoraConfig
from iterdpo.engines.base import TokenSequence
from iterdpo.engines.transformers import TransformersEngine
from iterdpo.models.canary import Canary
from iterdpo.models.checkpoint import copy_all_but_weights, load_base
from iterdpo.models.packed_linear import PackedLinear
from iterdpo.records import Adapter, Base, Policy
from iterdpo.stages.base import PrepareBase
from iterdpo.store.stage import Work
from iterdpo.training.adapters import load_policy
from iterdpo.training.merging import merged_model
from iterdpo.training.train import train
from tests.checkpoints import CheckpointOf
from tests.logprobs import sums
from tests.prequantized import FORMATS, make_packed
from tests.training.conftest import MakeSpec

TRAINED = ("gptq", "gptq-reordered", "awq")


@pytest.fixture(scope="session")
def packed_base(
    checkpoint_of: CheckpointOf, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Base]:
    """A function from a format to a base of it: the checkpoint itself is what engines serve."""
    made: dict[str, Path] = {}

    def get(name: str, dtype: str = "float32") -> Base:
        if name not in made:
            made[name] = make_packed(
                checkpoint_of("llama"), tmp_path_factory.mktemp(name), FORMATS[name]
            )
        place = str(made[name])
        return Base(place, name, FORMATS[name].method, dtype, dequantized=place)

    return get


def policy_in(out: Path, base: Base) -> Policy:
    report = json.loads((out / "training.json").read_text())
    return Policy("M1", base, Adapter(str(out / "adapter"), report["adapter_sha256"]))


@pytest.mark.parametrize("name", TRAINED)
def test_step_0_is_ln_2_the_loss_falls_and_the_engine_computes_what_the_trainer_did(
    make_spec: MakeSpec,
    packed_base: Callable[..., Base],
    engine: TransformersEngine,
    tmp_path: Path,
    name: str,
) -> None:
    base = packed_base(name)
    policy = Policy("M0", base)
    spec = make_spec(policy=policy, epochs=10, batch_size=6, micro_batch_size=6)
    report = train(spec, tmp_path)
    assert report["step0"]["loss"] == pytest.approx(math.log(2), abs=1e-6)
    losses = [entry["loss"] for entry in report["history"]]
    assert losses[-1] < 0.8 * losses[0]

    canary = Canary.read(tmp_path / "canary.json")
    assert canary.noise < 1e-4  # between the engine and the trainer, before training
    texts = [TokenSequence(text.prompt_ids, text.token_ids) for text in canary.texts]
    measured = engine.sequence_logprobs(texts, policy_in(tmp_path, base))
    assert sums(measured) == pytest.approx(sums(text.after for text in canary.texts), abs=1e-4)
    assert max(abs(text.moved) for text in canary.texts) > 0.1


@pytest.mark.parametrize("name", TRAINED)
def test_an_adapter_learns_what_it_would_on_the_unpacked_base(
    make_spec: MakeSpec, packed_base: Callable[..., Base], tmp_path: Path, name: str
) -> None:
    base = packed_base(name)
    plain = dataclasses.replace(
        base, path=base.path.replace("/packed", "/unpacked"), quantization="none"
    )
    spec = make_spec(policy=Policy("M0", base), gradient_checkpointing=True)
    train(spec, tmp_path / "packed")
    train(dataclasses.replace(spec, base=plain), tmp_path / "unpacked")
    one, other = (
        load_file(tmp_path / kind / "adapter" / "adapter_model.safetensors")
        for kind in ("packed", "unpacked")
    )
    assert one.keys() == other.keys()
    for key, tensor in one.items():
        assert torch.allclose(tensor, other[key], atol=1e-5), key
    assert any(tensor.abs().max() > 1e-3 for key, tensor in one.items() if "lora_B" in key)


def test_every_linear_layer_but_the_output_carries_an_adapter_and_nothing_else_learns(
    make_spec: MakeSpec, packed_base: Callable[..., Base]
) -> None:
    model = load_policy(make_spec(policy=Policy("M0", packed_base("gptq"))))
    packed = [name for name, one in model.named_modules() if isinstance(one, PackedLinear)]
    assert len(packed) == 2 * 7  # q, k, v, o, gate, up and down of two layers
    assert all(name.endswith(".base_layer") for name in packed)
    learning = [name for name, one in model.named_parameters() if one.requires_grad]
    assert len(learning) == 2 * len(packed)
    assert all(".lora_" in name for name in learning)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_base_computes_in_the_type_that_it_was_given(
    packed_base: Callable[..., Base], dtype: str
) -> None:
    model = load_base(packed_base("gptq", dtype))
    assert model.training
    layer = next(one for one in model.modules() if isinstance(one, PackedLinear))
    assert layer.weight.dtype == layer.scales.dtype == getattr(torch, dtype)
    assert model(torch.arange(8)[None]).logits.dtype == getattr(torch, dtype)


def test_no_unpacked_weight_is_kept_for_the_backward_pass(packed_base: Callable[..., Base]) -> None:
    layer = next(
        one for one in load_base(packed_base("gptq")).modules() if isinstance(one, PackedLinear)
    )
    kept = []

    def note(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.shape)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        layer(torch.ones(3, layer.in_features, requires_grad=True))
    assert kept == []


def test_nothing_is_made_of_the_base_but_a_record(
    packed_base: Callable[..., Base], tmp_path: Path
) -> None:
    base = packed_base("awq")
    step = PrepareBase(Path(base.path), "abc", "awq", "float32", trust_remote_code=False)
    step.compute(Work(tmp_path, tmp_path / "kept", "key"))
    assert [file.name for file in tmp_path.iterdir()] == ["base.json"]
    assert step.load(tmp_path).base == dataclasses.replace(base, sha256="abc")


def test_a_packed_and_a_plain_base_are_two_policies(packed_base: Callable[..., Base]) -> None:
    base = packed_base("gptq")
    others = [dataclasses.replace(base, quantization=other) for other in ("none", "awq", "nf4")]
    assert len({base.fingerprint, *(other.fingerprint for other in others)}) == 4


def test_a_policy_is_merged_into_the_unpacked_weights(
    make_spec: MakeSpec, packed_base: Callable[..., Base], tmp_path: Path
) -> None:
    base = packed_base("awq")
    lora = LoraConfig(rank=4, alpha=8, dropout=0.0, target_modules="all-linear")
    train(make_spec(policy=Policy("M0", base), lora=lora), tmp_path / "trained")
    adapter = str(tmp_path / "trained" / "adapter")
    whole = merged_model(base, adapter)
    policy = PeftModel.from_pretrained(load_base(base), adapter)
    ids = torch.arange(12)[None]
    with torch.no_grad():
        logits = policy(ids).logits
        assert torch.allclose(whole(ids).logits, logits, atol=1e-4)
        with policy.disable_adapter():
            assert not torch.allclose(policy(ids).logits, logits, atol=1e-3)
    whole.save_pretrained(tmp_path / "merged")
    copy_all_but_weights(Path(base.path), tmp_path / "merged")
    assert "quantization_config" not in json.loads((tmp_path / "merged/config.json").read_text())
