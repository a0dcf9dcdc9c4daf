"""Log-probs of answers from slices and from all logits: ``python -m experiments.bench_logprobs``.

The two sides take turns, on one model with random weights and a vocabulary of real size. The result
replaces the marked part of ``docs/benchmarks.md``.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from experiments.meters import cpu_peak
from experiments.page import replaced
from iterdpo.models.token_logprobs import token_logprobs

BEGIN, END = "<!-- bench-logprobs: begin -->", "<!-- bench-logprobs: end -->"
PAGE = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"
MIB = 2**20


def model_of(vocabulary: int) -> Any:
    """Return a model whose head, as a large one's, is dear beside one of its layers."""
    config = AutoConfig.for_model(
        "llama", vocab_size=vocabulary, hidden_size=256, intermediate_size=1024,
        num_hidden_layers=2, num_attention_heads=4,
    )  # fmt: skip
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config)


def from_all_logits(
    model: Any, ids: torch.Tensor, attention: torch.Tensor, wanted: torch.Tensor
) -> torch.Tensor:
    """Return what ``token_logprobs`` does, from the logits of the whole batch."""
    logits = model(input_ids=ids, attention_mask=attention, use_cache=False).logits
    logprobs: torch.Tensor = logits[:, :-1].float().log_softmax(-1)
    return logprobs.gather(-1, ids[:, 1:, None]).squeeze(-1) * wanted[:, 1:]


def measure(vocabulary: int, length: int, rounds: int) -> list[str]:
    """Compare the two ways, reading and with a backward pass; return the table's lines."""
    model = model_of(vocabulary)
    ids = torch.randint(0, vocabulary, (2, length))
    attention, wanted = torch.ones_like(ids), torch.ones_like(ids)
    wanted[:, : length // 2] = 0
    model.requires_grad_(False)
    model.base_model.requires_grad_(True)

    def ways(run: Callable[[Any], None]) -> tuple[Callable[[], None], Callable[[], None]]:
        inputs = (model, ids, attention, wanted)
        return (
            lambda: run(lambda: from_all_logits(*inputs)),
            lambda: run(lambda: token_logprobs(*inputs)),
        )

    def read(logprobs: Callable[[], torch.Tensor]) -> None:
        with torch.no_grad():
            logprobs()

    def learn(logprobs: Callable[[], Any]) -> None:
        logprobs().sum().backward()
        model.zero_grad()

    return [
        _line("read, as step 0 and the canary do", *ways(read), rounds),
        _line("with a backward pass", *ways(learn), rounds),
    ]


def report(options: argparse.Namespace) -> str:
    """Measure and return the text."""
    lines = measure(options.vocabulary, options.length, options.rounds)
    return "\n".join(
        [
            f"`python -m experiments.bench_logprobs` on {platform.machine()} with "
            f"{torch.get_num_threads()} threads, torch {torch.__version__}: two rows of "
            f"{options.length:,} tokens, the second half of each an answer, a vocabulary of "
            f"{options.vocabulary:,}, float32; median (range) of {options.rounds} paired turns.",
            "",
            "| log-probs of answers | peak of all logits, MiB | of slices, MiB | seconds of slices "
            "÷ all logits |",
            "|---|---|---|---|",
            *lines,
        ]
    )


def _line(what: str, whole: Callable[[], None], slices: Callable[[], None], rounds: int) -> str:
    peaks = [cpu_peak(way) / MIB for way in (whole, slices)]
    ratios = sorted(_seconds(slices) / _seconds(whole) for _ in range(rounds))
    spread = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} … {ratios[-1]:.2f})"
    return f"| {what} | {peaks[0]:,.0f} | {peaks[1]:,.0f} | {spread} |"


def _seconds(call: Callable[[], None]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--vocabulary", type=int, default=128_256, help="(%(default)s)")
    parser.add_argument("--length", type=int, default=1024, help="of a row (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="paired turns (%(default)s)")
    parser.add_argument("--page", type=Path, default=PAGE, help="page to write (%(default)s)")
    options = parser.parse_args()
    text = report(options)
    print(text)
    options.page.write_text(replaced(options.page.read_text("utf-8"), text, BEGIN, END), "utf-8")


if __name__ == "__main__":
    main()
