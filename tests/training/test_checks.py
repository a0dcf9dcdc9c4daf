"""What half types may differ by, against written-out arithmetic."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from experiments.meters import cpu_peak
from iterdpo.errors import LineageError
from iterdpo.training import checks
from iterdpo.training.canary import check_author, text_logprobs
from iterdpo.training.checks import ROUNDING, batch_logprobs, check_likelihood, check_step0
from tests.training.conftest import TRAINING

BETA = 0.1
# One pair of 100 and 400 tokens. The reference: -100 and -400; the policy: +3 and -1 nats.
POLICY = (torch.tensor([-97.0, -401.0]), torch.tensor([100.0, 400.0]))
REFERENCE = (torch.tensor([-100.0, -400.0]), POLICY[1])
LOSS = math.log1p(math.exp(-BETA * 4))


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Log-probs of the policy, then of the reference."""
    given: Iterator[Any] = iter([POLICY, REFERENCE])
    monkeypatch.setattr(checks, "batch_logprobs", lambda *_: next(given))


def check(loss: float, *, start: bool = False, rounding: float = 0.0) -> None:
    inputs = dict.fromkeys(("input_ids", "attention_mask", "completion_mask"))
    reference: AbstractContextManager[None] = nullcontext()
    training = dataclasses.replace(TRAINING, beta=BETA)
    check_step0(
        None, inputs, loss, training, ("sigmoid",), (1.0,), start, lambda: reference, rounding
    )


# Rounding of 0.05 moves the chosen answer by 0.05 * 10 nats and the rejected one by 0.05 * 20.
MOVED = abs(math.log1p(math.exp(-BETA * (4 - 1.5))) - LOSS)


@pytest.mark.parametrize(
    ("off", "dtype", "passes"),
    [
        (9e-5, "float32", True), (2e-4, "float32", False),
        (0.99 * MOVED, "bfloat16", True), (1.01 * MOVED, "bfloat16", False),
        (MOVED / 4, "float16", False),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("measured")
def test_the_first_loss_may_be_off_by_what_rounding_does_to_it(
    off: float, dtype: str, passes: bool
) -> None:
    if passes:
        check(LOSS + off, rounding=ROUNDING[dtype])
    else:
        with pytest.raises(LineageError, match="step 0: the trainer's loss"):
            check(LOSS + off, rounding=ROUNDING[dtype])


@pytest.mark.usefixtures("measured")
def test_where_policy_and_reference_are_the_same_nothing_is_allowed() -> None:
    with pytest.raises(LineageError, match="step 0: the trainer's loss"):
        check(LOSS + 0.01, start=True, rounding=ROUNDING["bfloat16"])


def test_the_likelihood_may_be_off_by_the_rounding_of_its_tokens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checks, "batch_logprobs", lambda *_: POLICY)
    inputs: dict[str, Any] = {
        "input_ids": None, "attention_mask": None, "labels": torch.zeros(1, 1),
    }  # fmt: skip
    # -498 nats over 500 tokens: 0.05 * sqrt(500) / 500 = 0.00224 a token.
    assert check_likelihood(None, inputs, 498 / 500 + 0.0022, 500, 1e-4, 0.05).loss
    with pytest.raises(LineageError, match="step 0"):
        check_likelihood(None, inputs, 498 / 500 + 0.0023, 500, 1e-4, 0.05)
    with pytest.raises(LineageError, match="step 0"):
        check_likelihood(None, inputs, 498 / 500 + 0.0022, 500, 1e-4)


@pytest.mark.parametrize(
    ("gap", "tokens", "dtype", "passes"),
    [
        (0.19, 4, "float32", True), (0.21, 4, "float32", False),
        # 0.05 a token and 0.3 by the root of the tokens: 0.2 + 0.6 of 4, 20 + 6 of 400.
        (0.79, 4, "bfloat16", True), (0.81, 4, "bfloat16", False),
        (25.9, 400, "bfloat16", True), (26.1, 400, "bfloat16", False),
    ],
)  # fmt: skip
def test_a_short_answer_may_be_off_by_more_a_token_in_half_types(
    gap: float, tokens: int, dtype: str, passes: bool
) -> None:
    if passes:
        check_author([gap], [tokens], "M0", 0.05, ROUNDING[dtype])
    else:
        with pytest.raises(LineageError, match=r"1 of 1 answers that M0.*engine\.max_gap=0\.05"):
            check_author([gap], [tokens], "M0", 0.05, ROUNDING[dtype])


def test_neither_step_0_nor_the_canary_holds_the_logits_of_a_batch() -> None:
    rows, prompt, vocabulary = 4, 60, 2000
    config = AutoConfig.for_model(
        "llama", vocab_size=vocabulary, hidden_size=16, intermediate_size=16,
        num_hidden_layers=1, num_attention_heads=1,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config)
    ids = torch.arange(rows * (prompt + 4)).view(rows, -1)
    answers = torch.tensor([0] * prompt + [1] * 4).expand(rows, -1)
    texts = [(row[:prompt], row[prompt:]) for row in ids.tolist()]
    logits = 4 * ids.numel() * vocabulary
    taken = cpu_peak(lambda: batch_logprobs(model, ids, torch.ones_like(ids), answers))
    assert taken < logits / 2
    assert cpu_peak(lambda: text_logprobs(model, texts)) < logits / 2
