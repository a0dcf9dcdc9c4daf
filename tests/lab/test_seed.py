"""The seed model as it is shipped."""

from __future__ import annotations

import json
import random
import re
from typing import TYPE_CHECKING, cast

import pytest

from iterdpo.lab.answers import FLAWLESS, write
from iterdpo.lab.grammar import render, universe
from iterdpo.lab.measure import MAX_ANSWER_TOKENS, measure
from iterdpo.lab.oracle import assess_task
from iterdpo.lab.splits import instructions
from iterdpo.lab.tokenizer import build_tokenizer
from iterdpo.lab.train_seed import SEED_MODEL
from iterdpo.lab.verdicts import SCORES, judge_message, verdict
from iterdpo.lab.words import vocabulary

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    from transformers import AutoTokenizer

    return cast("PreTrainedTokenizerFast", AutoTokenizer.from_pretrained(SEED_MODEL))


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    from transformers import AutoModelForCausalLM

    return cast("LlamaForCausalLM", AutoModelForCausalLM.from_pretrained(SEED_MODEL))


def chat(tokenizer: PreTrainedTokenizerFast, user: str, assistant: str) -> str:
    messages = [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]
    return str(tokenizer.apply_chat_template(messages, tokenize=False))


def test_the_checkpoint_is_small_and_of_the_llama_architecture() -> None:
    config = json.loads((SEED_MODEL / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert (SEED_MODEL / "model.safetensors").stat().st_size <= 8_000_000
    assert not list(SEED_MODEL.glob("*.bin"))


def test_the_shipped_tokenizer_is_the_one_that_the_code_builds(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    built = build_tokenizer()
    assert tokenizer.get_vocab() == built.get_vocab()
    assert tokenizer.chat_template == built.chat_template


def test_every_word_of_the_lab_is_one_known_token(tokenizer: PreTrainedTokenizerFast) -> None:
    for word in (*vocabulary(), *SCORES, "Score:"):
        (token,) = tokenizer(word)["input_ids"]
        assert token != tokenizer.unk_token_id


def test_every_exchange_fits_and_is_made_of_known_words(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    rng = random.Random(0)
    for task in universe()[::29]:
        answer = write(task, FLAWLESS, rng)
        assert len(tokenizer(answer)["input_ids"]) < MAX_ANSWER_TOKENS
        for text in (
            chat(tokenizer, render(task), answer),
            chat(
                tokenizer,
                judge_message(render(task), answer, reasons=True),
                verdict(assess_task(task, answer)),
            ),
        ):
            tokens = tokenizer(text)["input_ids"]
            assert tokenizer.unk_token_id not in tokens
            assert len(tokens) + MAX_ANSWER_TOKENS <= tokenizer.model_max_length


def test_decoding_joins_words_by_single_spaces(tokenizer: PreTrainedTokenizerFast) -> None:
    text = "well the fox sings . topic yes Score: 4"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_the_chat_template_knows_three_roles(tokenizer: PreTrainedTokenizerFast) -> None:
    messages = [
        {"role": "system", "content": "say yes"},
        {"role": "user", "content": "name two animals"},
        {"role": "assistant", "content": "fox owl"},
    ]
    whole = tokenizer.apply_chat_template(messages, tokenize=False)
    assert whole == ("<bos> <system> say yes <user> name two animals <assistant> fox owl <eos>")
    asked = tokenizer.apply_chat_template(messages[:2], tokenize=False, add_generation_prompt=True)
    assert asked == "<bos> <system> say yes <user> name two animals <assistant>"


def test_a_mediocre_writer_and_a_decent_judge(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    """Wide margins around the model card: a check that this is the model it speaks of."""
    measures = measure(model, tokenizer, instructions("judge")[:100], samples=4)
    assert 3.2 <= measures.quality <= 3.9
    assert measures.quality < measures.greedy_quality < 4.6
    assert measures.judge_accuracy >= 0.75
    assert measures.verdicts_readable >= 0.97


def test_the_model_card_tells_the_figures() -> None:
    card = (SEED_MODEL / "README.md").read_text(encoding="utf-8")
    assert re.search(r"quality of sampled answers .* \| \d\.\d\d \|", card)
    assert "Score: 4" in card


def test_training_gives_the_same_weights_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from iterdpo.lab import train_seed

    monkeypatch.setattr(train_seed, "POOL", 2)
    monkeypatch.setattr(train_seed, "OWN_ANSWERS", 8)
    threads = torch.get_num_threads()
    weights = []
    for _ in range(2):
        torch.manual_seed(train_seed.SEED)
        model = train_seed.new_model(build_tokenizer())
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        train_seed.train(model, build_tokenizer(), steps=3)
        weights.append(model.state_dict())
    torch.set_num_threads(threads)
    assert any(not torch.equal(before[name], weights[0][name]) for name in before)
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
