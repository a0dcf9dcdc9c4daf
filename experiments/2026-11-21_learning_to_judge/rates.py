"""How well a short training learns to write and to judge, by Muon's rate.

python experiments/2026-11-21_learning_to_judge/rates.py --steps 1000 0.02 0.003
"""

from __future__ import annotations

import argparse

import torch

from iterdpo.lab.measure import measure
from iterdpo.lab.splits import instructions
from iterdpo.lab.tokenizer import build_tokenizer
from iterdpo.lab.train_seed import SEED, new_model, train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("rates", type=float, nargs="+")
    parser.add_argument("--steps", type=int, default=1000)
    options = parser.parse_args()
    print("| rate | sampled quality | greedy | judge: pairs right | verdicts exact |")
    print("|---|---|---|---|---|")
    for rate in options.rates:
        torch.manual_seed(SEED)
        tokenizer = build_tokenizer()
        model = new_model(tokenizer)
        train(model, tokenizer, options.steps, matrix_lr=rate)
        found = measure(model, tokenizer, instructions("judge")[:300])
        print(
            f"| {rate:g} | {found.quality:.2f} | {found.greedy_quality:.2f} "
            f"| {found.judge_accuracy:.3f} | {100 * found.verdicts_exact:.0f} % |",
            flush=True,
        )


if __name__ == "__main__":
    main()
