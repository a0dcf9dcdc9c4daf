"""Train the seed model of the lab: a mediocre writer and a decent judge of about 1.3M parameters.

``python -m iterdpo.lab.train_seed [--out DIR] [--steps N]``: fixed seeds, two CPU cores.

Half of what it sees are answers by a careless writer, a quarter scores alone, a quarter verdicts
with reasons. Now and then the half-trained model answers instructions of the split ``seed``
itself, and from then on it learns to judge these answers too: they are the kind that it will
have to judge in the loop.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Final

import torch
from torch.nn import functional
from tqdm import tqdm
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from iterdpo.lab.examples import Example, ExampleSource
from iterdpo.lab.measure import MAX_ANSWER_TOKENS, Measures, answers, measure
from iterdpo.lab.model_card import model_card
from iterdpo.lab.splits import instructions
from iterdpo.lab.tokenizer import build_tokenizer

STEPS: Final = 5000
SEED: Final = 20
SEED_MODEL: Final = Path(__file__).parent / "seed"
BATCH: Final = 32
"""Answers a step, and judgments a step."""
POOL: Final = 16
"""Batches drawn together and sorted by length, so that little of a batch is padding."""
MATRIX_LR: Final = 3e-3
"""Of Muon. Its usual 0.02 learns to write and hardly to judge (experiments/)."""
OTHER_LR: Final = 3e-3
WARMUP: Final = 100
OWN_ANSWERS_AT: Final = (0.35, 0.6, 0.8)
"""After which shares of the steps the model's own answers join the answers to judge."""
OWN_ANSWERS: Final = 4096
MEASURED_PROMPTS: Final = 500

IGNORED: Final = -100


@dataclass(frozen=True, slots=True)
class Batch:
    """Token ids, right-padded, and the labels: the assistant's tokens, ``IGNORED`` elsewhere."""

    ids: torch.Tensor
    labels: torch.Tensor


def new_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Return the untrained seed model."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=160,
        intermediate_size=448,
        num_hidden_layers=4,
        num_attention_heads=5,
        num_key_value_heads=5,
        head_dim=32,
        max_position_embeddings=tokenizer.model_max_length,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    model = LlamaForCausalLM(config)
    # On short sequences the plain formula is faster on CPU than the fused kernel.
    model.set_attn_implementation("eager")
    return model


def batches(
    source: ExampleSource, tokenizer: PreTrainedTokenizerFast
) -> Iterator[tuple[Batch, Batch]]:
    """Yield a batch of answers and a batch of judgments, half with reasons, for ever."""
    rng = random.Random(SEED)
    while True:
        wanted = range(BATCH * POOL)
        writing = _pool([source.answer() for _ in wanted], tokenizer)
        judging = _pool([source.judgment(reasons=i % 2 == 0) for i in wanted], tokenizer)
        rng.shuffle(writing)
        rng.shuffle(judging)
        yield from zip(writing, judging, strict=True)


def _pool(examples: Sequence[Example], tokenizer: PreTrainedTokenizerFast) -> list[Batch]:
    prompts = [_conversation(tokenizer, example, answered=False) for example in examples]
    whole = [_conversation(tokenizer, example, answered=True) for example in examples]
    prompt_lengths = [len(ids) for ids in tokenizer(prompts)["input_ids"]]
    rows = sorted(
        zip(tokenizer(whole)["input_ids"], prompt_lengths, strict=True),
        key=lambda row: len(row[0]),
    )
    assert tokenizer.pad_token_id is not None
    return [
        _batch(rows[start : start + BATCH], tokenizer.pad_token_id)
        for start in range(0, len(rows), BATCH)
    ]


def _conversation(tokenizer: PreTrainedTokenizerFast, example: Example, *, answered: bool) -> str:
    messages = [{"role": "user", "content": example.user}]
    if answered:
        messages.append({"role": "assistant", "content": example.assistant})
    return str(
        tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=not answered)
    )


def _batch(rows: Sequence[tuple[list[int], int]], pad: int) -> Batch:
    width = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([ids + [pad] * (width - len(ids)) for ids, _ in rows])
    labels = torch.tensor(
        [[IGNORED] * prompt + ids[prompt:] + [IGNORED] * (width - len(ids)) for ids, prompt in rows]
    )
    return Batch(ids, labels)


def loss_of(model: LlamaForCausalLM, batch: Batch) -> torch.Tensor:
    """Return the summed negative log-likelihood, in nats, of the assistant's tokens."""
    # Padding is on the right of a causal model: nothing that counts attends to it.
    with torch.autocast("cpu", torch.bfloat16):
        hidden = model.model(input_ids=batch.ids, use_cache=False).last_hidden_state
    learned = batch.labels[:, 1:] != IGNORED
    logits = model.lm_head(hidden[:, :-1][learned].float())
    return functional.cross_entropy(logits, batch.labels[:, 1:][learned], reduction="sum")


def train(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    steps: int,
    matrix_lr: float = MATRIX_LR,
) -> None:
    """Train ``model`` in place for ``steps`` steps of ``BATCH`` answers and as many judgments.

    Args:
        model: an untrained model.
        tokenizer: its tokenizer.
        steps: optimizer steps.
        matrix_lr: Muon's rate for the layers' matrices, at its highest.
    """
    source = ExampleSource(SEED)
    optimizers = _optimizers(model, matrix_lr)
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _lr_factor(step, steps))
        for optimizer in optimizers
    ]
    own_answers_at = {int(share * steps) for share in OWN_ANSWERS_AT}
    # One core learns to write while the other learns to judge: at this size that is faster than
    # two threads an operation, and the sums come in the same order whatever the machine does.
    torch.set_num_threads(1)
    with ThreadPoolExecutor(2, initializer=torch.set_num_threads, initargs=(1,)) as cores:
        progress = tqdm(range(steps), desc="seed model", unit="step")
        for step, (writing, judging) in zip(progress, batches(source, tokenizer), strict=False):
            if step in own_answers_at:
                source.judge_also(own_answers(model, tokenizer, seed=step))
            model.train()
            # Writing is averaged over tokens and judging over examples: a verdict has few tokens,
            # and all of its examples should weigh alike.
            weights = (1 / int((writing.labels != IGNORED).sum()), 1 / BATCH)
            written, judged = cores.map(
                _loss_and_gradients, repeat(model), (writing, judging), weights
            )
            for parameter, *gradients in zip(
                model.parameters(), written[1], judged[1], strict=True
            ):
                parameter.grad = gradients[0] + gradients[1]
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for optimizer, schedule in zip(optimizers, schedules, strict=True):
                optimizer.step()
                schedule.step()
            progress.set_postfix(written=f"{written[0]:.3f}", judged=f"{judged[0]:.3f}")
    model.eval()


def _loss_and_gradients(
    model: LlamaForCausalLM, batch: Batch, weight: float
) -> tuple[float, tuple[torch.Tensor, ...]]:
    loss = loss_of(model, batch) * weight
    return loss.item(), torch.autograd.grad(loss, list(model.parameters()))


def _optimizers(model: LlamaForCausalLM, matrix_lr: float) -> tuple[torch.optim.Optimizer, ...]:
    """Return Muon for the layers' matrices and AdamW for the rest."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    return (
        torch.optim.Muon(matrices, lr=matrix_lr, weight_decay=0.01),
        torch.optim.AdamW(others, lr=OTHER_LR, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
    )


def _lr_factor(step: int, steps: int) -> float:
    """Warm up, stay, and come down to zero over the last 0.6 of the steps."""
    return min(1.0, (step + 1) / WARMUP, (steps - step) / (0.6 * steps))


def own_answers(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, seed: int
) -> list[tuple[str, str]]:
    """Return (instruction, answer sampled from ``model``) for instructions of split ``seed``."""
    prompts = random.Random(seed).sample(instructions("seed"), OWN_ANSWERS)
    model.eval()
    return answers(model, tokenizer, prompts, samples=1, seed=seed)


def save(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    measures: Measures,
    steps: int,
    out: Path,
) -> None:
    """Write the checkpoint, the tokenizer, the sampling defaults and the model card to ``out``."""
    model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=1.0,
        top_k=0,
        max_new_tokens=MAX_ANSWER_TOKENS,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    card = model_card(
        measures,
        parameters=model.num_parameters(),
        words=len(tokenizer),
        steps=steps,
        prompts=MEASURED_PROMPTS,
    )
    (out / "README.md").write_text(card, encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, measure and save the seed model; show its model card."""
    parser = argparse.ArgumentParser(prog="python -m iterdpo.lab.train_seed", description=__doc__)
    parser.add_argument("--out", type=Path, default=SEED_MODEL, help="where the checkpoint goes")
    parser.add_argument("--steps", type=int, default=STEPS, help="training steps (%(default)s)")
    options = parser.parse_args(arguments)
    torch.manual_seed(SEED)
    tokenizer = build_tokenizer()
    model = new_model(tokenizer)
    train(model, tokenizer, options.steps)
    measures = measure(model, tokenizer, instructions("judge")[:MEASURED_PROMPTS])
    save(model, tokenizer, measures, options.steps, options.out)
    sys.stdout.write((options.out / "README.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
