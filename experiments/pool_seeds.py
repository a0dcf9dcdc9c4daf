"""Pool the jobs of a sweep over seeds into one table with intervals.

    python -m iterdpo -m seed=0,1,2 hydra.sweep.dir=runs/seeds
    python experiments/pool_seeds.py runs/seeds

Answers to one held-out instruction are one cluster, whichever run they come from, so that runs that
share an instruction do not count it twice. Differences are paired by run and instruction.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from iterdpo.evaluation.statistics import Estimate, mean_ci
from iterdpo.evaluation.summary import Summary
from iterdpo.evaluation.summary_file import read_summary

PERFECT = 5.0
ByPrompt = Mapping[str, Sequence[float]]


def pooled(runs: Sequence[ByPrompt]) -> dict[str, list[float]]:
    """Return the values of all runs by prompt."""
    values: defaultdict[str, list[float]] = defaultdict(list)
    for run in runs:
        for prompt, scores in run.items():
            values[prompt].extend(scores)
    return values


def difference(later: Sequence[ByPrompt], earlier: Sequence[ByPrompt]) -> Estimate:
    """Return the mean of later - earlier, paired by run and prompt, clustered by prompt."""
    gaps = [
        {prompt: [fmean(new[prompt]) - fmean(old[prompt])] for prompt in new}
        for new, old in zip(later, earlier, strict=True)
    ]
    return mean_ci(pooled(gaps))


def mean(values: Iterable[float | None]) -> float | None:
    """Return the mean of what is known; None where nothing is."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def pool(runs: Sequence[Summary]) -> dict[str, Any]:
    """Return what the runs say together, by model and between models."""
    count = len(runs[0].models)
    sampled = [[run.models[i].evaluation.sampled_by_prompt for run in runs] for i in range(count)]
    models: list[dict[str, Any]] = []
    for i in range(count):
        measured = [run.models[i].evaluation for run in runs]
        qualities = [item.quality for item in measured if item.quality]
        made = [run.iterations[i - 1].pairs for run in runs] if i else []
        labels = [pairs.quality.label_accuracy for pairs in made]
        models.append(
            {
                "name": runs[0].models[i].name,
                "quality": mean_ci(pooled(sampled[i])),
                "perfect": mean(quality.perfect_share for quality in qualities),
                "greedy": mean(quality.greedy_mean for quality in qualities),
                "tokens": mean(item.response_tokens for item in measured),
                "reference": mean(item.judge.reference_set.pairwise_accuracy for item in measured),
                "own": mean(item.judge.own_answers.pairwise_accuracy for item in measured),
                "pairs": mean(pairs.kept for pairs in made),
                "labels": mean(label.mean if label else None for label in labels),
            }
        )
    first, last = models[0]["quality"].mean, models[-1]["quality"].mean
    return {
        "models": models,
        "steps": [difference(sampled[i], sampled[i - 1]) for i in range(1, count)],
        "gap_closed": (last - first) / (PERFECT - first),
        "wall_seconds": [run.run.wall_seconds for run in runs],
        "seeds": [run.run.seed for run in runs],
    }


def markdown(result: Mapping[str, Any]) -> str:
    """Return the result as Markdown."""
    lines = [
        "| | quality (0–5) | gain | perfect | greedy | judge: reference set | own answers "
        "| pairs | labels right |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for i, model in enumerate(result["models"]):
        quality, step = model["quality"], result["steps"][i - 1] if i else None
        gain = f"{step.mean:+.3f} ({step.low:+.3f} … {step.high:+.3f})" if step else "–"
        pairs = f"{model['pairs']:,.0f}" if i else "–"
        labels = f"{100 * model['labels']:.0f} %" if i else "–"
        half = (quality.high - quality.low) / 2
        lines.append(
            f"| {model['name']} | {quality.mean:.2f} ± {half:.2f} | {gain} "
            f"| {100 * model['perfect']:.0f} % | {model['greedy']:.2f} | {model['reference']:.3f} "
            f"| {model['own']:.3f} | {pairs} | {labels} |"
        )
    minutes = ", ".join(f"{seconds / 60:.1f}" for seconds in result["wall_seconds"])
    first = result["models"][0]["quality"]
    closed = 100 * result["gap_closed"]
    lines += [
        "",
        f"Seeds {', '.join(map(str, result['seeds']))}; {first.n:,} sampled answers a model. "
        f"{closed:.0f} % of the gap between M0 and a perfect {PERFECT:.0f} closed. "
        f"{minutes} minutes a run.",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("sweep", type=Path, help="the directory of a sweep over seeds")
    options = parser.parse_args()
    runs = sorted(options.sweep.glob("*/summary.json"))
    if not runs:
        parser.error(f"{options.sweep} holds no job with a summary.json")
    print(markdown(pool([read_summary(path.parent) for path in runs])))


if __name__ == "__main__":
    main()
