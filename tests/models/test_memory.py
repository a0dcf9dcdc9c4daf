"""The memory estimate against arithmetic written out, real models' counts, and autograd itself."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iterdpo.models.memory import ModelShape, TrainingMethod, activation_bytes, trainer_bytes
from tests.checkpoints import CheckpointOf
from tests.narrowing import present

# The sizes as the checkpoints' config.json give them.
LLAMA_3_8B = {
    "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256,
    "tie_word_embeddings": False,
}  # fmt: skip
MISTRAL_7B = LLAMA_3_8B | {"vocab_size": 32768}
QWEN_7B = {
    "hidden_size": 3584, "num_hidden_layers": 28, "num_attention_heads": 28,
    "num_key_value_heads": 4, "intermediate_size": 18944, "vocab_size": 152064,
    "tie_word_embeddings": False,
}  # fmt: skip
LLAMA = ModelShape(4096, 32, 32, 8, 128, 14336, 128256, tied=False)


def shape_of(config: dict[str, Any]) -> ModelShape:
    return present(ModelShape.of(config))


def test_the_parameters_of_real_models() -> None:
    assert shape_of(LLAMA_3_8B).parameters == 8_030_261_248
    assert shape_of(MISTRAL_7B).parameters == 7_248_023_552
    assert shape_of(QWEN_7B).parameters == pytest.approx(7_615_616_512, rel=1e-3)


def test_a_shape_is_read_in_every_spelling() -> None:
    assert ModelShape.of(LLAMA_3_8B) == LLAMA
    assert ModelShape.of({"text_config": LLAMA_3_8B, "vision_config": {}}) == LLAMA
    assert ModelShape.of(LLAMA_3_8B | {"head_dim": None}) == LLAMA
    assert shape_of(LLAMA_3_8B | {"head_dim": 256}).head_dim == 256
    alone = {key: value for key, value in LLAMA_3_8B.items() if key != "num_key_value_heads"}
    assert shape_of(alone).kv_heads == 32
    silent = {key: value for key, value in LLAMA_3_8B.items() if key != "tie_word_embeddings"}
    assert shape_of(silent).tied
    assert not shape_of({"text_config": silent, "tie_word_embeddings": False}).tied


@pytest.mark.parametrize(
    "key",
    ["hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size"],
)
def test_a_missing_size_is_unknown(key: str) -> None:
    assert ModelShape.of({name: LLAMA_3_8B[name] for name in LLAMA_3_8B if name != key}) is None
    assert ModelShape.of(LLAMA_3_8B | {key: "many"}) is None
    assert ModelShape.of(LLAMA_3_8B | {key: 0}) is None


@pytest.mark.parametrize("key", ["num_local_experts", "num_experts", "kv_lora_rank"])
def test_layers_of_another_kind_are_unknown(key: str) -> None:
    assert ModelShape.of(LLAMA_3_8B | {key: 8}) is None
    assert ModelShape.of(LLAMA_3_8B | {key: None}) == LLAMA


def test_a_checkpoint_is_read_from_its_directory(tmp_path: Path) -> None:
    assert ModelShape.at(tmp_path) is None
    (tmp_path / "config.json").write_text(json.dumps(LLAMA_3_8B))
    assert ModelShape.at(tmp_path) == LLAMA


@pytest.mark.parametrize("style", ["llama", "mistral", "gemma", "qwen"])
def test_counts_are_those_of_the_libraries(checkpoint_of: CheckpointOf, style: str) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    shape = present(ModelShape.at(checkpoint_of(style)))
    model = AutoModelForCausalLM.from_pretrained(checkpoint_of(style))
    modules = dict(model.named_modules())
    linear = {name: m for name, m in modules.items() if isinstance(m, torch.nn.Linear)}
    linear.pop("lm_head")
    biases = sum(m.bias.numel() for m in linear.values() if m.bias is not None)
    assert biases > 0 if style == "qwen" else biases == 0
    assert shape.parameters + biases == model.num_parameters()
    assert shape.linear_parameters == sum(module.weight.numel() for module in linear.values())
    adapted = get_peft_model(
        model, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    )
    assert shape.lora_parameters(4) == adapted.get_nb_trainable_parameters()[0]


def test_training_llama_8b_by_hand() -> None:
    weights = 32 * (2 * 4096 * 4096 + 2 * 4096 * 1024 + 3 * 4096 * 14336)
    assert weights == 6_979_321_856
    constants = weights // 64 + 4 * weights // (64 * 256)
    rest = 2 * (8_030_261_248 - weights)
    base = weights // 2 + constants + rest
    # In + out of q, k, v, o, gate, up, down.
    ends = 8192 + 5120 + 5120 + 8192 + 3 * 18432
    adapters = 32 * 16 * ends * (4 + 4 + 8 + 4)
    assert adapters == 838_860_800
    tokens = 2 * 2048  # one pair
    layer = tokens * (2 * 4 * 4096 + 2 * (2 * 4096 + 5 * 4096 + 4 * 14336))
    dequantized = 2 * 4096 * 14336
    # TRL's tile of 4,096 x 32,768 in bfloat16 and the states' gradient; a slice of the check's,
    # 2**25 logits in bfloat16, in float32 and their log-softmax, is as large.
    logits = 4096 * 32768 * 2 + tokens * 4096 * 4
    assert logits == 2**25 * (2 + 4 + 4)
    context = 644_245_094
    same = base + adapters + layer + dequantized + logits + context

    def trainer(**changes: Any) -> int:
        given: dict[str, Any] = {
            "quantization": "nf4-double", "dtype_bytes": 2, "rank": 16, "micro_batch": 1,
            "length": 2048, "gradient_checkpointing": True,
        }  # fmt: skip
        return trainer_bytes(LLAMA, **given | changes)

    assert trainer() == same + 32 * tokens * 4096 * 2 == 9_550_988_902
    assert trainer(gradient_checkpointing=False) == same + 32 * layer
    assert trainer(quantization="nf4") - trainer() == weights // 16 - constants
    assert trainer(quantization="int8") - trainer() == weights // 2 - constants
    assert trainer(quantization="none") - trainer() == 3 * weights // 2 - constants
    # Two sequences, 32 heads, 2048 x 2048 scores at 2 + 4 + 2 bytes, in the layer in work.
    assert trainer(eager_attention=True) - trainer() == 2 * 32 * 2048 * 2048 * 8


def test_two_pairs_of_llama_8b_fit_24_gb_by_hand() -> None:
    weights = 6_979_321_856
    base = weights // 2 + weights // 64 + 4 * weights // (64 * 256) + 2 * (8_030_261_248 - weights)
    adapters = 838_860_800
    tokens = 2 * 2 * 2048
    layer = tokens * (8 * 4096 + 2 * (2 * 4096 + 5 * 4096 + 4 * 14336))
    inputs = 32 * tokens * 4096 * 2
    head = 4096 * 32768 * 2 + tokens * 4096 * 4
    needed = base + adapters + inputs + layer + 2 * 4096 * 14336 + head + 644_245_094
    assert trainer_bytes(LLAMA, "nf4-double", 2, 16, 2, 2048, True) == needed == 11_530_700_390
    # With the reserve, on the smallest of the cards that are sold as 24 GB: an L4 shows 22.0 GiB.
    assert needed < 0.95 * 22 * 2**30
    # Of all logits at once, in three forms, 10.5 GB: what the check of step 0 took before.
    assert tokens * 128256 * 10 > 25 * head


@pytest.mark.parametrize(
    ("method", "numbers", "rows"), [("dpo", 5, 2), ("orpo", 4, 2), ("sft", 4, 1)]
)
def test_what_a_method_holds_by_hand(method: TrainingMethod, numbers: int, rows: int) -> None:
    needed = trainer_bytes(LLAMA, "none", 2, 16, 3, 512, True, method=method)
    tokens = rows * 3 * 512
    layer = tokens * 204_800
    head = 2**25 * 10 if tokens < 4096 else 0
    if method == "orpo":  # all logits: bfloat16, float32, log-softmax, gradient
        head = tokens * 128256 * (2 + 4 + 4 + 4)
    expected = 2 * 8_030_261_248 + 41_943_040 * 4 * numbers + 32 * tokens * 8192 + layer
    assert needed == expected + 2 * 4096 * 14336 + head + 644_245_094


def test_all_weights_by_hand() -> None:
    shape = ModelShape(896, 24, 14, 2, 64, 4864, 151936, tied=True)
    tokens = 2 * 1024
    layer = tokens * (8 * 896 + 2 * (2 * 896 + 5 * 896 + 4 * 4864))
    inputs = 24 * tokens * 896 * 2
    # Policy, gradient, two moments, reference; autocast's copies; the head's own gradient.
    held = shape.parameters * (5 * 4 + 2) + 151936 * 896 * 4
    needed = held + inputs + layer + 896 * 4864 * 2 + 2**25 * 10 + 644_245_094
    assert trainer_bytes(shape, "none", 2, None, 1, 1024, True) == needed
    single = trainer_bytes(shape, "none", 4, None, 1, 1024, True)
    assert single > needed - 2 * shape.parameters  # no copies, but wider activations


def test_double_quantization_costs_0_127_bits_a_parameter() -> None:
    plain, double, bare = (
        trainer_bytes(LLAMA, name, 2, 16, 1, 2048, True) for name in ("nf4", "nf4-double", "none")
    )
    weights = 6_979_321_856
    assert (bare - plain) * 8 / weights == pytest.approx(16 - 4.5, abs=1e-3)
    assert (bare - double) * 8 / weights == pytest.approx(16 - 4.127, abs=1e-3)


@pytest.mark.parametrize("eager", [False, True])
def test_activations_are_what_autograd_keeps(eager: bool) -> None:
    """Count the bytes saved for the backward pass by one layer more, under bfloat16 autocast."""
    import torch
    from peft import LoraConfig, get_peft_model
    from peft.helpers import disable_input_dtype_casting
    from transformers import AutoConfig, AutoModelForCausalLM

    rows, length, sizes = 2, 128, LLAMA_3_8B | {
        "hidden_size": 256, "num_attention_heads": 4, "num_key_value_heads": 2,
        "intermediate_size": 768, "vocab_size": 64,
    }  # fmt: skip
    shape = shape_of(sizes)

    def saved(layers: int) -> int:
        config = AutoConfig.for_model("llama", **sizes | {"num_hidden_layers": layers})
        model = AutoModelForCausalLM.from_config(
            config, dtype=torch.bfloat16, attn_implementation="eager" if eager else "sdpa"
        )
        adapter = LoraConfig(r=1, target_modules="all-linear", task_type="CAUSAL_LM")
        model = get_peft_model(model, adapter).train()
        own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
        kept: dict[int, int] = {}
        alive = []

        def note(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                kept[storage.data_ptr()] = storage.nbytes()
                alive.append(tensor)
            return tensor

        ids = torch.zeros(rows, length, dtype=torch.long)
        mask = torch.ones_like(ids)
        mask[0, length // 2 :] = 0
        # The quantized layers leave their input's type to autocast; these here would cast it.
        with (
            torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor),
            torch.autocast("cpu", torch.bfloat16),
            disable_input_dtype_casting(model),
        ):
            model(input_ids=ids, attention_mask=mask, use_cache=False)
        return sum(kept.values())

    tokens, scores = rows * length, rows * 4 * length**2 if eager else 0
    estimated = [
        activation_bytes(replace(shape, layers=layers), 2, tokens, scores, False)
        for layers in (2, 3)
    ]
    # The estimate for eager attention has room for Gemma 2's soft cap.
    assert saved(3) - saved(2) == pytest.approx(
        estimated[1] - estimated[0], rel=0.12 if eager else 0.05
    )


counts = st.integers(1, 64)
shapes = st.builds(
    ModelShape,
    hidden=counts, layers=counts, heads=counts, kv_heads=counts, head_dim=counts,
    intermediate=counts, vocab=counts, tied=st.booleans(),
)  # fmt: skip
trainings = st.fixed_dictionaries(
    {
        "dtype_bytes": st.sampled_from([2, 4]),
        "rank": counts,
        "micro_batch": counts,
        "length": counts,
        "gradient_checkpointing": st.booleans(),
        "eager_attention": st.booleans(),
    }
)
QUANTIZATIONS = ["nf4-double", "nf4", "int8", "none"]


def raised(values: dict[str, Any], name: str) -> dict[str, Any]:
    """Return ``values`` with one of them made larger; a switch goes where it costs more."""
    costly = {"tied": False, "gradient_checkpointing": False, "eager_attention": True}
    return values | {name: costly.get(name, values[name] + 1)}


@given(shapes, trainings, st.sampled_from(QUANTIZATIONS), st.data())
def test_training_never_takes_less_of_something_more(
    shape: ModelShape, training: dict[str, Any], quantization: str, data: st.DataObject
) -> None:
    before = trainer_bytes(shape, quantization, **training)
    name = data.draw(st.sampled_from(sorted(training)))
    assert trainer_bytes(shape, quantization, **raised(training, name)) >= before
    size = data.draw(st.sampled_from(sorted(asdict(shape))))
    larger = ModelShape(**raised(asdict(shape), size))
    assert trainer_bytes(larger, quantization, **training) >= before
    for coarser in QUANTIZATIONS[: QUANTIZATIONS.index(quantization)]:
        assert trainer_bytes(shape, coarser, **training) <= before
