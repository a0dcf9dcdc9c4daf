"""How often `iterdpo canary` is right about a server, by simulation.

    python -m experiments.served_canary_power --draws 10000

Each token is drawn from a server's policy over a small vocabulary: the base's log-probs, the
adapter's movement in full, in part or not at all, and rounding errors. The server states them; the
base with and without the adapter is computed with rounding errors of its own, or next to none. So
the drawing favors what the server's errors favor, as a real one does. Figures stand in
docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
from collections import Counter
from typing import TYPE_CHECKING, Any

from iterdpo.tools.canary.verdict import judge_served

if TYPE_CHECKING:
    import numpy as np

TEXTS, VOCABULARY = 64, 8
MOVED = (0.01, 0.02, 0.04, 0.08)
"""Nats a token, root mean square."""
SERVERS = {"right": 1.0, "absent": 0.0, "wrong": 0.0, "stale": 0.5}
"""The share of the adapter that a server applies; the wrong one applies another of its size."""


def main() -> None:
    """Print one line a case: how often each kind of server is told rightly and wrongly."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--draws", type=int, default=10_000)
    parser.add_argument("--tokens", type=int, default=32, help="of a text")
    parser.add_argument("--noise", type=float, default=0.04, help="of each value, nats a token")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print("| moved | noise here | right: applied | stopped | absent: found | missed "
          "| wrong: found | missed | half applied: found | missed |")  # fmt: skip
    print("|---" * 10 + "|")
    for moved in MOVED:
        for own in (0.0, options.noise):
            cells = [f"{moved}", f"{own:g}"]
            for kind in SERVERS:
                found = _simulate(kind, moved, own, options)
                good = found["applied"] if kind == "right" else found["found"]
                bad = found["found"] if kind == "right" else found["applied"]
                cells += [f"{good / options.draws:.2%}", f"{bad}"]
            print(f"| {' | '.join(cells)} |", flush=True)


def _simulate(kind: str, moved: float, own: float, o: argparse.Namespace) -> Counter[str]:
    """Count what a kind of server is told to be: ``applied``, ``found`` out, or ``undecided``.

    Args:
        kind: of ``SERVERS``.
        moved: by the adapter, in nats a token.
        own: noise of what is computed here, likewise.
        o: the program's options.
    """
    import numpy as np

    rng = np.random.default_rng([o.seed, *f"{kind} {moved} {own}".encode()])
    shape = (TEXTS, o.tokens, VOCABULARY)
    found: Counter[str] = Counter()
    for _ in range(o.draws):
        logits = rng.normal(0, 2, shape)
        base = _log_softmax(logits)
        adapted = _log_softmax(logits + rng.normal(0, moved, shape))
        policy = base + SERVERS[kind] * (adapted - base)
        if kind == "wrong":
            policy = _log_softmax(logits + rng.normal(0, moved, shape))
        served = _log_softmax(policy + rng.normal(0, o.noise, shape))
        drawn = (served + rng.gumbel(size=shape)).argmax(-1, keepdims=True)
        values = [np.take_along_axis(side, drawn, -1)[..., 0] for side in (served, adapted, base)]
        for side in values[1:]:
            side += rng.normal(0, own, side.shape) if own else 0.0
        outcome = judge_served(
            *(side.tolist() for side in values),
            noise=float(np.hypot(o.noise, own)),
            exact=not own,
        ).outcome
        decided = "found" if outcome in ("not applied", "mixed", "another") else outcome
        found[decided] += 1
    return found


def _log_softmax(logits: np.ndarray[Any, np.dtype[np.float64]]) -> Any:
    import numpy as np

    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


if __name__ == "__main__":
    main()
