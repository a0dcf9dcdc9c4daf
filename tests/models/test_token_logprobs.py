"""Sliced log-probs against the logits of the whole batch, and the memory that they take."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

from experiments.meters import cpu_peak
from iterdpo.models.token_logprobs import answer_logprobs, token_logprobs
from tests.checkpoints import STYLES

VOCABULARY, ROWS, WIDTH = 1000, 4, 24
SLICE_BYTES = 7 * 4 * VOCABULARY
"""Of seven positions: the answers have more, and a last slice that is not full."""
# Numbers of the order of real models' ones, which show: as initialized, logits are nearly 0.
SCALED = {"cohere": {"logit_scale": 0.25}, "granite": {"logits_scaling": 4.0},
          "gemma2": {"final_logit_softcapping": 1.5}}  # fmt: skip
FAMILIES = sorted({style.family for style in STYLES.values()} | SCALED.keys())


def model_of(family: str) -> Any:
    config = AutoConfig.for_model(
        family, vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, head_dim=16, max_position_embeddings=64,
        initializer_range=0.2, pad_token_id=None, **SCALED.get(family, {}),
    )  # fmt: skip
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config)


def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return ids, attention mask and answers of rows of several lengths, one without an answer."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, VOCABULARY, (ROWS, WIDTH), generator=generator)
    places = torch.arange(WIDTH)
    ends, starts = torch.tensor([[24], [17], [9], [20]]), torch.tensor([[6], [9], [9], [1]])
    attention = (places < ends).long()
    return ids, attention, attention * (places >= starts)


def plain(
    model: Any, ids: torch.Tensor, attention: torch.Tensor, wanted: torch.Tensor
) -> torch.Tensor:
    """The same from the logits of the whole batch."""
    logits = model(input_ids=ids, attention_mask=attention, use_cache=False).logits[:, :-1]
    tokens = torch.log_softmax(logits.float(), -1).gather(-1, ids[:, 1:, None]).squeeze(-1)
    return tokens.masked_fill(wanted[:, 1:] == 0, 0.0)


@pytest.mark.parametrize("family", FAMILIES)
def test_slices_give_what_the_logits_of_the_whole_batch_give(family: str) -> None:
    model, inputs = model_of(family).eval(), batch()
    with torch.no_grad():
        whole = plain(model, *inputs)
        sliced = token_logprobs(model, *inputs, slice_bytes=SLICE_BYTES)
        assert torch.allclose(sliced, whole, rtol=1e-6, atol=0)
        head = model.get_output_embeddings()
        states = model.base_model(inputs[0], inputs[1], use_cache=False).last_hidden_state
        bare = torch.log_softmax(head(states), -1)[:, :-1].gather(-1, inputs[0][:, 1:, None])
    # What the family does to its head's logits shows.
    same = torch.allclose(sliced, bare.squeeze(-1) * (inputs[2][:, 1:] != 0), rtol=1e-3)
    assert same == (family not in SCALED)


@pytest.mark.parametrize("family", FAMILIES)
def test_no_more_memory_is_taken_than_the_decoder_and_a_slice_need(family: str) -> None:
    model, inputs = model_of(family).eval(), batch()
    with torch.no_grad():
        decoder = cpu_peak(lambda: model.base_model(inputs[0], inputs[1], use_cache=False))
        whole = cpu_peak(lambda: plain(model, *inputs))
        sliced = cpu_peak(lambda: token_logprobs(model, *inputs, slice_bytes=SLICE_BYTES))
    assert whole > 2 * 4 * ROWS * (WIDTH - 1) * VOCABULARY
    # Logits and their log-softmax, where the model computes in float32 already.
    assert sliced < decoder + SLICE_BYTES / 4 * (4 + 4) + 4096


@pytest.mark.parametrize("modules", ["all-linear", ["q_proj", "lm_head"]])
def test_an_adapter_counts_wherever_it_lies(modules: str | list[str]) -> None:
    adapter = LoraConfig(r=2, target_modules=modules, init_lora_weights=False)
    model, inputs = get_peft_model(model_of("llama"), adapter).eval(), batch()
    with torch.no_grad():
        adapted = token_logprobs(model, *inputs, slice_bytes=SLICE_BYTES)
        assert torch.allclose(adapted, plain(model, *inputs), rtol=1e-6, atol=0)
        with model.disable_adapter():
            bare = token_logprobs(model, *inputs, slice_bytes=SLICE_BYTES)
            assert torch.allclose(bare, plain(model, *inputs), rtol=1e-6, atol=0)
    assert not torch.allclose(adapted, bare, rtol=1e-3)


def test_a_head_that_cannot_be_told_from_its_decoder_computes_all_logits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, inputs = model_of("llama").eval(), batch()
    with torch.no_grad():
        whole = plain(model, *inputs)
        monkeypatch.setattr(model, "base_model_prefix", "")
        sliced = token_logprobs(model, *inputs, slice_bytes=SLICE_BYTES)
        taken = cpu_peak(lambda: token_logprobs(model, *inputs, slice_bytes=SLICE_BYTES))
    assert torch.equal(sliced, whole)
    assert taken > 4 * ROWS * WIDTH * VOCABULARY


def test_slices_are_computed_in_the_type_that_the_model_is_called_in() -> None:
    model, inputs = model_of("llama").eval(), batch()
    with torch.no_grad():
        single = plain(model, *inputs)
        model.forward = torch.autocast("cpu", torch.bfloat16)(model.forward)  # as accelerate does
        half, sliced = plain(model, *inputs), token_logprobs(model, *inputs, SLICE_BYTES)
    # bfloat16 rounds to 1/256.
    assert torch.allclose(sliced, half, rtol=1e-6, atol=0)
    assert not torch.allclose(half, single, rtol=1e-4, atol=0)


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_gradients_are_those_of_the_whole_and_no_logits_wait_for_them(family: str) -> None:
    model, inputs = model_of(family).train(), batch()
    saved: list[int] = []

    def note(tensor: torch.Tensor) -> torch.Tensor:
        saved.append(tensor.numel())
        return tensor

    whole: Any = plain(model, *inputs).sum()
    whole.backward()
    expected = {name: weight.grad for name, weight in model.named_parameters()}
    model.zero_grad()
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        sliced: Any = token_logprobs(model, *inputs, slice_bytes=SLICE_BYTES).sum()
    sliced.backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None, name
        assert torch.allclose(weight.grad, expected[name], rtol=1e-4, atol=1e-5), name
    of_positions = {size / VOCABULARY for size in saved if size % VOCABULARY == 0}
    assert of_positions <= {1, 32}  # the first position alone, and a weight


def test_a_batch_without_answers_has_none() -> None:
    ids, attention, _ = batch()
    values = token_logprobs(model_of("llama"), ids, attention, torch.zeros_like(ids))
    assert values.tolist() == [[0.0] * (WIDTH - 1)] * ROWS


def test_each_text_gets_the_values_of_its_answer_whatever_lies_beside_it() -> None:
    model = model_of("llama").eval()
    texts = [((5, 6, 7), (8, 9)), ((1,), (2, 3, 4, 5, 6)), ((1, 2, 3, 4), ())]
    for (prompt, answer), values in zip(texts, answer_logprobs(model, texts), strict=True):
        with torch.no_grad():
            logits = model(torch.tensor([[*prompt, *answer]])).logits[0].log_softmax(-1)
        assert values == pytest.approx(
            [logits[len(prompt) - 1 + at, token].item() for at, token in enumerate(answer)],
            rel=1e-5,
        )
