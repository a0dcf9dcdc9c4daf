"""Sampling from a model whose outputs are no numbers is a line, not a crash within torch."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from iterdpo.engines.base import Sampling
from iterdpo.engines.sampling import SpecialIds, sample
from iterdpo.errors import UserError


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_model_that_gives_no_probabilities_is_said(temperature: float) -> None:
    config = LlamaConfig(
        vocab_size=16,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        model.lm_head.weight.fill_(float("inf"))  # a sum with it is never a number
    sampling = Sampling(n=1, temperature=temperature, top_p=1.0, max_tokens=4, seed=0)
    with pytest.raises(UserError, match="probabilities of a next token are no numbers"):
        sample(model, [[1, 2], [3]], sampling, 0, SpecialIds((0,), 0))
