"""How often the canary finds an adapter that is not applied, by simulation.

    python experiments/canary_power.py --draws 10000

Every value of trainer and engine, before and after, has Gaussian noise of its own. A text's
tokens are summed before they are drawn, as only the sum matters then; ``to and
fro`` has tokens of its own. Figures stand in docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import math
import random
from collections import Counter

from iterdpo.engines.applied_share import applied_share, power_of
from iterdpo.engines.canary import outcome_of

TEXTS = 64
Rows = list[list[float]]
CASES = (
    ("alike", 1, (0.7, 0.85, 1.0, 1.2, 2.0)),
    ("text by text", 1, (1.0, 1.5, 2.0, 3.0)),
    ("to and fro", 16, (1.0, 1.2, 1.6)),
)
"""What moves together, numbers drawn a text, and how far a text moves, in nats."""


def main() -> None:
    """Print one line a case: how often it decides, and how often wrongly."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--draws", type=int, default=10_000)
    parser.add_argument("--tokens", type=int, default=400, help="of a text")
    parser.add_argument("--gap", type=float, default=0.04, help="engine - trainer, nats a token")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print("| moved | nats a text | trainer's noise | decides | right stopped | absent missed |")
    print("|---|---|---|---|---|---|")
    for kind, numbers, sizes in CASES:
        for size in sizes:
            for share in (0.5, 0.1, 0.9):
                rng = random.Random(f"{options.seed} {kind} {size} {share}")
                found = _simulate(rng, kind, numbers, size, share, options)
                decided = options.draws - found["undecided"]
                print(
                    f"| {kind} | {size} | {share:.0%} | {decided / options.draws:.1%} | "
                    f"{found['stopped']} of {decided} | {found['missed']} of {decided} |",
                    flush=True,
                )


def _simulate(
    rng: random.Random, kind: str, numbers: int, size: float, share: float, o: argparse.Namespace
) -> Counter[str]:
    """Count draws that are undecided, right engines stopped, and absent adapters missed.

    Args:
        rng: of this case.
        kind: what moves together.
        numbers: drawn a text.
        size: standard deviation or size of a text's movement, in nats.
        share: of the gap's variance that is the trainer's.
        o: the program's options.
    """
    gap = o.gap * math.sqrt(o.tokens / numbers)
    trainer, engine = gap * math.sqrt(share), gap * math.sqrt(1 - share)
    found: Counter[str] = Counter()

    def noise(deviation: float) -> Rows:
        return [[rng.gauss(0, deviation) for _ in range(numbers)] for _ in range(TEXTS)]

    for _ in range(o.draws):
        true = [_movement(rng, kind, text, numbers, size) for text in range(TEXTS)]
        before, stored = noise(trainer), noise(engine)
        moved = _sum(true, _less(noise(trainer), before))
        gaps = _less(stored, before)
        power = power_of(moved, gaps, 1e-4, groups=2)
        if not power.tells:
            found["undecided"] += 1
            continue
        right, absent = (
            applied_share(power, moved, _less(now, stored), gaps, 1e-4, 2)
            for now in (_sum(true, noise(engine)), noise(engine))
        )
        found["stopped"] += outcome_of(right, power, trained=True) != "applied"
        found["missed"] += outcome_of(absent, power, trained=True) == "applied"
    return found


def _movement(rng: random.Random, kind: str, text: int, numbers: int, size: float) -> list[float]:
    if kind == "alike":
        return [(1 - 2 * (text % 2)) * size / numbers] * numbers
    return [rng.gauss(0, size / math.sqrt(numbers)) for _ in range(numbers)]


def _sum(one: Rows, other: Rows) -> Rows:
    return [[a + b for a, b in zip(x, y, strict=True)] for x, y in zip(one, other, strict=True)]


def _less(one: Rows, other: Rows) -> Rows:
    return [[a - b for a, b in zip(x, y, strict=True)] for x, y in zip(one, other, strict=True)]


if __name__ == "__main__":
    main()
