"""The seed model at work, without the loop: it writes, it judges, the oracle measures both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean
from typing import TYPE_CHECKING, Any, cast

from iterdpo.lab.oracle import assess, score
from iterdpo.lab.verdicts import SCORES, judge_message, verdict

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

MAX_ANSWER_TOKENS = 48
"""More than any sensible answer of the lab has, its end included."""

_BATCH = 256


@dataclass(frozen=True, slots=True)
class Measures:
    """The figures of a seed model on instructions that it has never seen."""

    quality: float
    """Mean oracle score, 0 to 5, of answers sampled at temperature 1."""
    perfect_share: float
    """Share of those answers that score 5."""
    greedy_quality: float
    """Mean oracle score of the greedy answers."""
    answer_tokens: float
    """Mean length of the sampled answers in words."""
    judge_accuracy: float
    """Share of the pairs of sampled answers to one instruction, with different oracle scores, that
    the expected score puts in the right order; ties count half."""
    judge_exact: float
    """Share of the sampled answers whose most probable score is the oracle's."""
    verdicts_readable: float
    """Share of the sampled answers whose greedy verdict has the exact form of a verdict."""
    verdicts_exact: float
    """Share of the sampled answers whose greedy verdict is the oracle's, every point of it."""


def measure(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[str],
    samples: int = 4,
) -> Measures:
    """Measure ``model`` on ``prompts``, with ``samples`` sampled answers each. Fixed seed."""
    responses = answers(model, tokenizer, prompts, samples=samples)
    expected, likeliest = judge_scores(model, tokenizer, responses)
    truth = [score(prompt, response) for prompt, response in responses]
    requests = [judge_message(*pair, reasons=True) for pair in responses]
    verdicts = [text for _, text in generate(model, tokenizer, requests)]
    forms = {verdict(assess(*pair)) for pair in responses}
    return Measures(
        quality=fmean(truth),
        perfect_share=fmean(points == 5 for points in truth),
        greedy_quality=fmean(score(*pair) for pair in generate(model, tokenizer, prompts)),
        answer_tokens=fmean(len(response.split()) for _, response in responses),
        judge_accuracy=pairwise_accuracy(expected, truth, group=samples),
        judge_exact=fmean(a == b for a, b in zip(likeliest, truth, strict=True)),
        verdicts_readable=fmean(text in forms for text in verdicts),
        verdicts_exact=fmean(
            text == verdict(assess(*pair)) for text, pair in zip(verdicts, responses, strict=True)
        ),
    )


def answers(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[str],
    *,
    samples: int,
    seed: int = 0,
) -> list[tuple[str, str]]:
    """Return ``samples`` pairs (prompt, answer sampled at temperature 1) a prompt, side by side."""
    repeated = [prompt for prompt in prompts for _ in range(samples)]
    return list(generate(model, tokenizer, repeated, seed=seed))


def generate(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    messages: Sequence[str],
    *,
    seed: int | None = None,
) -> Iterator[tuple[str, str]]:
    """Yield (message, answer) in order: sampled at temperature 1 with ``seed``, else greedy."""
    import torch

    if seed is not None:
        torch.manual_seed(seed)
    for batch in _batches(messages):
        inputs = _inputs(tokenizer, batch)
        with torch.inference_mode():
            # transformers' own types do not accept its own models here.
            output = cast(Any, model).generate(
                **inputs,
                do_sample=seed is not None,
                temperature=1.0 if seed is not None else None,
                top_k=0 if seed is not None else None,
                max_new_tokens=MAX_ANSWER_TOKENS,
            )
        new_tokens = output[:, inputs["input_ids"].shape[1] :]
        yield from zip(
            batch, tokenizer.batch_decode(new_tokens, skip_special_tokens=True), strict=True
        )


def judge_scores(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    responses: Sequence[tuple[str, str]],
) -> tuple[list[float], list[int]]:
    """Return the expected and the most probable score, 0 to 5, of each (prompt, response)."""
    import torch

    choices = torch.tensor(tokenizer.convert_tokens_to_ids(list(SCORES)))
    values = torch.arange(len(SCORES), dtype=torch.float32)
    expected: list[float] = []
    likeliest: list[int] = []
    messages = [judge_message(*pair, reasons=False) for pair in responses]
    for batch in _batches(messages):
        with torch.inference_mode():
            logits = model(**_inputs(tokenizer, batch), logits_to_keep=1).logits[:, -1, choices]
        probabilities = logits.float().softmax(dim=-1)
        expected += (probabilities @ values).tolist()
        likeliest += probabilities.argmax(dim=-1).tolist()
    return expected, likeliest


def pairwise_accuracy(judged: Sequence[float], truth: Sequence[float], group: int) -> float:
    """Return the share of rightly ordered pairs, ties of the judge counting half.

    Pairs are within consecutive groups of ``group`` values and differ in truth. ``nan`` when there
    is none.
    """
    outcomes = [
        0.5 if judged[i] == judged[j] else float((judged[i] > judged[j]) == (truth[i] > truth[j]))
        for start in range(0, len(truth), group)
        for i, j in combinations(range(start, min(start + group, len(truth))), 2)
        if truth[i] != truth[j]
    ]
    return fmean(outcomes) if outcomes else float("nan")


def _batches(messages: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(messages), _BATCH):
        yield messages[start : start + _BATCH]


def _inputs(tokenizer: PreTrainedTokenizerFast, batch: Sequence[str]) -> dict[str, torch.Tensor]:
    chats = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": message}], tokenize=False, add_generation_prompt=True
        )
        for message in batch
    ]
    encoded = tokenizer(chats, padding=True, padding_side="left", return_tensors="pt")
    return {name: encoded[name] for name in ("input_ids", "attention_mask")}
