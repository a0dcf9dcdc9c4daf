"""Packed checkpoints: what they say, what is refused, and that unpacking does as they mean."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from iterdpo.engines.base import Sampling, TokenSequence
from iterdpo.engines.transformers import TransformersEngine, TransformersSettings
from iterdpo.errors import UserError
from iterdpo.models.chat_messages import Request
from iterdpo.models.loading import load_plain
from iterdpo.models.packed_checkpoint import load_packed
from iterdpo.models.packed_linear import PackedLinear, awq_weight, gptq_weight, unpacked
from iterdpo.models.prequantized import (
    Packing,
    checkpoint_problem,
    quantization_of,
    serving_problem,
)
from iterdpo.records import Adapter, Base, Policy
from tests.checkpoints import CheckpointOf
from tests.logprobs import sums
from tests.narrowing import answered
from tests.prequantized import AWQ, FORMATS, GPTQ, Format, declare, make_packed, pack_layer


@pytest.fixture(scope="session")
def packed(checkpoint_of: CheckpointOf, tmp_path_factory: pytest.TempPathFactory) -> CheckpointOf:
    """A function from a format's name to a checkpoint of it; beside it lies ``unpacked``."""
    made: dict[str, Path] = {}

    def get(name: str) -> Path:
        if name not in made:
            directory = tmp_path_factory.mktemp(name)
            made[name] = make_packed(checkpoint_of("qwen"), directory, FORMATS[name])
        return made[name]

    return get


# What a word means, by hand.


def test_a_word_of_gptq_holds_eight_neighbors_from_the_lowest_bits_on() -> None:
    # 0x87654321: 1 in the lowest 4 bits, 8 in the highest; and the sign bit is no sign.
    word = np.array([[0x87654321]], np.uint32).view(np.int32)
    numbers = unpacked(torch.from_numpy(word), 4, 0, torch.float32)
    assert numbers.flatten().tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    octets = unpacked(torch.from_numpy(word), 8, 1, torch.int32)
    assert octets.tolist() == [[0x21, 0x43, 0x65, 0x87]]


def test_a_gptq_weight_by_hand() -> None:
    # Eight inputs in two groups that alternate, with scales 1/2 and 2; eight outputs, of which the
    # first is looked at.
    qweight = torch.tensor([[0x76543210] * 8], dtype=torch.int32)
    # Stored less 1, in the lowest bits: 7 for 8; and 15 for 0, as 16 is 0 modulo 16.
    qzeros = torch.tensor([[7], [15]], dtype=torch.int32)
    scales = torch.tensor([[0.5] * 8, [2.0] * 8])
    groups = torch.tensor([0, 1] * 4, dtype=torch.int32)
    first = gptq_weight(qweight, qzeros, scales, groups, zeros_less_one=True)
    # (0 - 8) / 2, (1 - 0) * 2, (2 - 8) / 2, (3 - 0) * 2, ...
    assert first[0].tolist() == [-4.0, 2.0, -3.0, 6.0, -2.0, 10.0, -1.0, 14.0]
    second = gptq_weight(qweight, qzeros, scales, groups, zeros_less_one=False)
    # (0 - 7) / 2, (1 - 15) * 2, ...
    assert second[0].tolist() == [-3.5, -28.0, -2.5, -24.0, -1.5, -20.0, -0.5, -16.0]


def test_an_awq_word_holds_outputs_in_its_own_order() -> None:
    # The lowest bits hold output 0, the next 2, 4, 6, then 1, 3, 5, 7.
    word = sum(output << (4 * place) for place, output in enumerate((0, 2, 4, 6, 1, 3, 5, 7)))
    qweight = torch.from_numpy(np.array([[word]], np.uint32).view(np.int32))
    qzeros = torch.tensor([[0x11111111]], dtype=torch.int32)
    weight = awq_weight(qweight, qzeros, torch.full((1, 8), 0.5), torch.zeros(1, dtype=torch.int32))
    assert weight.flatten().tolist() == [-0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0]


# Whole layers and models against numpy's, number by number.


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("seed", range(3))
def test_layers_of_every_format_are_exact(name: str, seed: int) -> None:
    kind, rng = FORMATS[name], np.random.default_rng(seed)
    inputs, outputs = (int(rng.integers(1, 5)) * 32 for _ in range(2))
    stored, expected = pack_layer(inputs, outputs, kind, rng)
    tensors = {part: torch.from_numpy(array) for part, array in stored.items()}
    size = kind.group_size if kind.group_size > 0 else inputs
    tensors.setdefault("g_idx", torch.arange(inputs, dtype=torch.int32) // size)
    tensors["scales"] = tensors["scales"].float()
    layer = PackedLinear(torch.nn.Linear(inputs, outputs, bias=False), kind.layout, tensors)
    assert layer.weight.shape == (outputs, inputs)
    assert torch.equal(layer.weight, torch.from_numpy(expected))


@pytest.mark.parametrize("name", FORMATS)
def test_a_packed_model_computes_what_its_unpacked_image_does(
    packed: CheckpointOf, name: str
) -> None:
    path = packed(name)
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        kept = load_packed(str(path), dtype="float32", device="cpu")(ids).logits
        plain = load_plain(str(path), "float32", "cpu")
        image = load_plain(str(path.parent / "unpacked"), "float32", "cpu")
        expected = image(ids).logits
    assert torch.allclose(kept, expected, atol=1e-5)
    assert torch.equal(plain(ids).logits, expected)
    assert not any(isinstance(module, PackedLinear) for module in plain.modules())
    weights, others = dict(plain.named_parameters()), dict(image.named_parameters())
    assert weights.keys() == others.keys()
    assert all(torch.equal(weights[key], others[key]) for key in weights)
    assert "quantization_config" not in plain.config.to_dict()


@pytest.mark.parametrize("name", ["gptq", "awq"])
def test_a_layer_takes_the_bits_it_says(packed: CheckpointOf, name: str) -> None:
    model = load_packed(str(packed(name)), dtype="bfloat16", device="cpu")
    layers = [module for module in model.modules() if isinstance(module, PackedLinear)]
    for layer in layers:
        weights = layer.in_features * layer.out_features
        assert layer.qweight.nbytes == weights // 2
        assert layer.scales.nbytes == weights // 32 * 2
        assert layer.qzeros.nbytes == weights // 32 // 2
    assert not any(buffer.requires_grad for layer in layers for buffer in layer.buffers())


def test_gradients_reach_the_input_exactly(packed: CheckpointOf) -> None:
    model = load_packed(str(packed("gptq")), dtype="float32", device="cpu")
    layer = model.model.layers[0].mlp.down_proj
    rng = torch.Generator().manual_seed(0)
    given = torch.randn(2, 3, layer.in_features, generator=rng, requires_grad=True)
    weights = torch.randn(layer.out_features, generator=rng)
    (layer(given) @ weights).sum().backward()
    expected = (weights @ layer.weight).expand_as(given)
    assert given.grad is not None
    assert torch.allclose(given.grad, expected, atol=1e-5)


def test_biases_are_added_and_survive_unpacking(packed: CheckpointOf, tmp_path: Path) -> None:
    # Qwen's q, k and v have one; some packers write one for every layer.
    from safetensors.numpy import load_file, save_file

    path = shutil.copytree(packed("gptq"), tmp_path / "with_bias")
    tensors = load_file(path / "model.safetensors")
    rng = np.random.default_rng(0)
    for name in ("self_attn.q_proj", "mlp.down_proj"):
        bias = rng.normal(size=64).astype(np.float32)
        tensors[f"model.layers.0.{name}.bias"] = bias
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
    kept = load_packed(str(path), dtype="float32", device="cpu").model.layers[0]
    plain = load_plain(str(path), "float32", "cpu").model.layers[0]
    for one, other in (
        (kept.self_attn.q_proj, plain.self_attn.q_proj),
        (kept.mlp.down_proj, plain.mlp.down_proj),
    ):
        nothing = torch.zeros(1, one.in_features)
        assert torch.equal(one(nothing)[0], one.bias)
        assert torch.equal(other(nothing)[0], one.bias)
    assert torch.equal(kept.mlp.down_proj.bias, torch.from_numpy(bias))


# What is damaged or of another kind.

Change = Callable[[dict[str, np.ndarray]], object]


def broken(packed: CheckpointOf, tmp_path: Path, change: Change) -> str:
    from safetensors.numpy import load_file, save_file

    path = shutil.copytree(packed("gptq"), tmp_path / "broken")
    tensors = load_file(path / "model.safetensors")
    change(tensors)
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
    return str(path)


LAYER = "model.layers.1.mlp.up_proj"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.pop(f"{LAYER}.scales"), f"{LAYER}: has no scales"),
        (
            lambda t: t.update({f"{LAYER}.qweight": t[f"{LAYER}.qweight"][:4]}),
            rf"{LAYER}: 64 inputs and 128 outputs do not fit qweight \[4, 128\]",
        ),
        (
            lambda t: t.update({f"{LAYER}s.qweight": t[f"{LAYER}.qweight"]}),
            f"{LAYER}s is packed in it and no linear layer of its architecture",
        ),
        (lambda t: t.pop("model.norm.weight"), r"1 tensors of its architecture .*model\.norm"),
        (lambda t: t.pop(f"{LAYER}.qweight"), rf"such as {LAYER}\.weight; the checkpoint is dam"),
    ],
)
def test_a_damaged_checkpoint_is_refused_by_the_name_of_what_is_wrong(
    packed: CheckpointOf, tmp_path: Path, change: Change, said: str
) -> None:
    path = broken(packed, tmp_path, change)
    with pytest.raises(UserError, match=said):
        load_packed(path, dtype="float32", device="cpu")


def test_scales_that_are_not_those_of_the_group_size_are_refused(
    packed: CheckpointOf, tmp_path: Path
) -> None:
    # AWQ has no list of groups, and scales of groups of 32 read as of 64 would be wrong in silence.
    path = shutil.copytree(packed("awq"), tmp_path / "awq")
    declare(path, AWQ.config() | {"group_size": 64})
    said = "4 groups of scales do not fit 128 inputs and group_size=64"
    with pytest.raises(UserError, match=said):
        load_packed(str(path), dtype="float32", device="cpu")


# What a config.json says.


def test_older_files_say_less() -> None:
    said = {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": True}
    assert Packing.of({"quantization_config": said}) == Packing(
        "gptq", "gptq", 4, 128, reordered=False, symmetric=True
    )
    said = {"quant_method": "awq", "bits": 4, "group_size": 128, "version": "GEMM"}
    packing = Packing.of({"quantization_config": said})
    assert packing is not None
    assert (packing.layout, packing.unreadable, packing.unserved) == ("gemm", "", "")
    assert Packing.of({}) is None
    assert Packing.of({"quantization_config": None}) is None


PACKINGS = {
    name: Packing.of({"quantization_config": kind.config()})
    for name, kind in {
        **FORMATS,
        "gptq-3-bits": Format(bits=3),
        "awq-8-bits": Format("awq", "gemm", bits=8),
        "marlin": Format(layout="marlin"),
        "gemv": Format("awq", "gemv"),
        "fp8": Format("fp8"),
        "group-0": Format(group_size=0),
        "reordered-one-group": Format(reordered=True, group_size=-1),
    }.items()
}


@pytest.mark.parametrize(
    ("quantization", "name", "said"),
    [
        ("gptq", None, r"model\.quantization=gptq: here is not quantized .* set model\.quantiz"),
        ("awq", None, r"nothing here quantizes to awq; .* that is AWQ already"),
        ("nf4", "gptq", r"quantization=nf4: here is quantized already, by gptq; set model\.quan"),
        ("none", "awq", r"quantization=none: here is quantized already, by awq; set model\.quan"),
        ("int8", "gptq", r"model\.quantization=int8: here is quantized already, by gptq"),
        ("gptq", "awq", r"quantized already, by awq; set model\.quantization=awq"),
        ("gptq", "gptq-3-bits", "bits=3 is not read here, gptq of 4 and 8 bits is"),
        ("awq", "awq-8-bits", "bits=8 is not read here, awq of 4 bits is"),
        ("gptq", "marlin", "its layout marlin is not read here, gptq and gptq_v2 of gptq is"),
        ("awq", "gemv", "its layout gemv is not read here, gemm of awq is"),
        ("nf4", "fp8", r"quant_method=fp8 is not read here, .* with model\.quantization=nf4"),
        ("gptq", "group-0", "group_size=0: a number of inputs, or -1"),
    ],
)
def test_a_checkpoint_that_does_not_go_with_the_setting_is_one_line(
    quantization: str, name: str | None, said: str
) -> None:
    problem = checkpoint_problem(quantization, PACKINGS[name] if name else None, "here")
    assert re.search(said, problem)
    assert "\n" not in problem
    assert problem.startswith(("model.quantization=", "model.path="))


def test_what_goes_together_is_no_problem() -> None:
    for name, kind in FORMATS.items():
        assert checkpoint_problem(kind.method, PACKINGS[name], "here") == ""
    for quantization in ("nf4", "int8", "none"):
        assert checkpoint_problem(quantization, None, "here") == ""


@pytest.mark.parametrize(
    ("name", "dtype", "said"),
    [
        ("gptq", "float32", "model.dtype=float32: vLLM serves gptq in bfloat16 and float16 only"),
        ("awq", "float32", "model.dtype=float32: vLLM serves awq in bfloat16 and float16 only"),
        ("gptq-reordered", "bfloat16", "vLLM does not serve desc_act=true of this checkpoint"),
        ("gptq-asymmetric", "bfloat16", "vLLM does not serve sym=false of this checkpoint"),
        *((name, "bfloat16", "") for name in ("gptq", "gptq-8-bits", "gptq-one-group", "awq")),
        ("reordered-one-group", "float16", ""),
        ("gptq", "auto", ""),
    ],
)
def test_vllm_serves_some_of_them_and_transformers_all(name: str, dtype: str, said: str) -> None:
    assert serving_problem("transformers", dtype, PACKINGS[name]) == ""
    problem = serving_problem("vllm", dtype, PACKINGS[name])
    assert problem == "" if not said else said in problem
    assert serving_problem("vllm", dtype, None) == ""


def test_a_checkpoint_that_is_only_served_says_itself_what_it_is(
    packed: CheckpointOf, checkpoint_of: CheckpointOf, tmp_path: Path
) -> None:
    assert quantization_of(packed("gptq")) == "gptq"
    assert quantization_of(packed("awq")) == "awq"
    assert quantization_of(checkpoint_of("qwen")) == "none"
    other = shutil.copytree(checkpoint_of("qwen"), tmp_path / "fp8")
    declare(other, {"quant_method": "fp8"})
    assert quantization_of(other) == "none"
    assert quantization_of(tmp_path) == "none"


# Engines.


def base_at(path: Path, kind: Format, dtype: str) -> Base:
    return Base(str(path), path.parent.name, kind.method, dtype, dequantized=str(path))


@pytest.mark.parametrize("name", ["gptq", "awq"])
def test_the_transformers_engine_serves_the_checkpoint_itself(
    packed: CheckpointOf, name: str
) -> None:
    path, requests = packed(name), [Request.of("Name two animals."), Request.of("And one.")]
    image = path.parent / "unpacked"
    written = []
    for base in (
        base_at(path, FORMATS[name], "float32"),
        Base(str(image), "0", "none", "float32", dequantized=str(image)),
    ):
        engine = TransformersEngine(TransformersSettings(device="cpu"))
        done = engine.generate(requests, Policy("M0", base), Sampling(n=2, max_tokens=8, seed=1))
        written.append([(one.token_ids, one.logprobs) for one in answered(done)])
        engine.close()
    assert written[0] == written[1]


@pytest.mark.parametrize(("kind", "dtype"), [(GPTQ, "float16"), (AWQ, "bfloat16")])
def test_vllm_serves_the_same_checkpoint_with_adapters(
    vllm: None, packed: CheckpointOf, tmp_path: Path, kind: Format, dtype: str
) -> None:
    """vLLM's kernels share no line with ours: that both agree says that both read the format."""
    from peft import LoraConfig, get_peft_model

    from iterdpo.engines.vllm import VllmEngine
    from iterdpo.engines.vllm_process import VllmSettings

    base = base_at(packed(kind.method), kind, dtype)
    model = load_packed(base.path, dtype=dtype, device="cpu")
    model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules="all-linear"))
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data.normal_(std=0.1)
    model.save_pretrained(str(tmp_path / "adapter"))
    policies = [
        Policy("M0", base),
        Policy("M1", base, Adapter(str(tmp_path / "adapter"), "hash")),
    ]
    ours = TransformersEngine(TransformersSettings(device="cpu", dtype=dtype))
    theirs = VllmEngine(VllmSettings(device="cpu", dtype=dtype, context=256, cache_gib=0.1))
    # Half a rounding of a number of the order of 1, as logits are here.
    most = torch.finfo(getattr(torch, dtype)).eps / 2
    try:
        for policy in policies:
            requests = [Request.of(f"Name {count} animals.") for count in ("two", "six", "ten")]
            done = theirs.generate(requests, policy, Sampling(max_tokens=12, seed=3))
            texts = [TokenSequence(one.prompt_token_ids, one.token_ids) for one in answered(done)]
            both = [sums(engine.sequence_logprobs(texts, policy)) for engine in (ours, theirs)]
            for text, one, other in zip(texts, *both, strict=True):
                assert abs(one - other) < most * len(text.token_ids)
        bare = sums(ours.sequence_logprobs(texts, policies[0]))
        for text, one, other in zip(texts, bare, both[1], strict=True):
            assert abs(one - other) > 2 * most * len(text.token_ids)  # the adapter does something
    finally:
        theirs.close()
        ours.close()
