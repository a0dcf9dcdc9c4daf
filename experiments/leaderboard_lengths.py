"""What the length-controlled win rate says of models with a published one (AlpacaEval 2).

    python experiments/leaderboard_lengths.py FILE

FILE holds a model a line: ``model``, ``published`` (``length_controlled_winrate``, in percent) and
``rows`` of preference (1 to 2), the model's and the baseline's characters, and an id of the
instruction. Two tables go to standard output.

The first has a model a row: beside the published rate, what ``length_controlled`` says, and what it
would say without its rule on overlap.

The second is what the rule's limit rests on. Of a model that has an estimate, longer (or shorter)
answers are left out at random until they are only some share. The answers left are what they were,
so the rate should be near what it was; what comes out instead is how far an estimate goes astray
where equal length lies at the edge of the data.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

from iterdpo.evaluation import length_control
from iterdpo.evaluation.length_control import Lengths, length_controlled
from iterdpo.evaluation.resampling import FIT_RESAMPLES
from iterdpo.evaluation.statistics import Estimate

SHARES = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35)
DRAWS = 20


def main() -> None:
    """Print both tables."""
    made = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    made.add_argument("file", type=Path, metavar="FILE")
    models = [json.loads(line) for line in made.parse_args().file.read_text("utf-8").splitlines()]
    print("| model | longer | raw | published | estimate | without the rule |")
    print("| :-- | --: | --: | --: | --: | --: |")
    overlapping = []
    for model in models:
        rows = [(preference - 1, own, other) for preference, own, other, _ in model["rows"]]
        if found := length_controlled(dict(enumerate([row] for row in rows))):
            overlapping.append((rows, model["published"]["length_controlled_winrate"]))
        print(_line(model, rows, found))
    print("\n| least share | estimates | mean error | largest | published rate inside |")
    print("| --: | --: | --: | --: | --: |")
    for share in SHARES:
        print(_thinned_line(overlapping, share))


def _line(model: Mapping[str, Any], rows: Sequence[Lengths], found: Estimate | None) -> str:
    published = model["published"]
    longer = sum((own > other) + (own == other) / 2 for _, own, other in rows) / len(rows)
    raw = 100 * sum(preference for preference, _, _ in rows) / len(rows)
    return (
        f"| {model['model']} | {100 * longer:.0f} % | {raw:.2f} "
        f"| {published['length_controlled_winrate']:.1f} "
        f"| {_said(found) if found else 'not estimable'} | {_said(_unruled(rows))} |"
    )


def _thinned_line(models: Sequence[tuple[Sequence[Lengths], float]], share: float) -> str:
    import numpy as np

    rng = np.random.default_rng(0)
    errors, inside = [], 0
    for rows, published in models:
        gaps = np.array([own - other for _, own, other in rows])
        for rare in (gaps > 0, gaps < 0):
            keep = round(share / (1 - share) * int((~rare).sum()))
            for _ in range(DRAWS):
                chosen = rng.choice(np.flatnonzero(rare), keep, replace=False)
                left = [rows[place] for place in (*chosen, *np.flatnonzero(~rare))]
                found = _unruled(left, resamples=200)
                errors.append(100 * found.mean - published)
                low, high = _ends(found)
                inside += low <= published <= high
    return (
        f"| {100 * share:.0f} % | {len(errors)} | {np.abs(errors).mean():.1f} "
        f"| {np.abs(errors).max():.1f} | {100 * inside / len(errors):.0f} % |"
    )


def _unruled(rows: Sequence[Lengths], resamples: int = FIT_RESAMPLES) -> Estimate:
    with patch.object(length_control, "LEAST_OVERLAP", 0.0):
        found = length_controlled(dict(enumerate([row] for row in rows)), resamples=resamples)
    assert found is not None
    return found


def _said(found: Estimate) -> str:
    low, high = _ends(found)
    return f"{100 * found.mean:.1f} ({low:.1f} … {high:.1f})"


def _ends(found: Estimate) -> tuple[float, float]:
    assert found.low is not None
    assert found.high is not None
    return 100 * found.low, 100 * found.high


if __name__ == "__main__":
    main()
