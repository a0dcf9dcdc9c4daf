"""Pool the jobs of a sweep over seeds into one table with intervals.

    python -m iterdpo -m seed=0,1,2 hydra.sweep.dir=runs/seeds
    python experiments/pool_seeds.py runs/seeds

Answers to one held-out instruction are one cluster, whichever run they come from, so that runs that
share an instruction do not count it twice. Differences are paired by run and instruction.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from iterdpo.evaluation.statistics import Estimate, mean_ci

PERFECT = 5.0
ByPrompt = Mapping[str, Sequence[float]]


def read_run(run: Path) -> dict[str, Any]:
    """Return a run's summary, each model with its oracle scores by prompt."""
    summary: dict[str, Any] = json.loads((run / "summary.json").read_text("utf-8"))
    store = Path(json.loads((run / "config.json").read_text("utf-8"))["store"]["root"])
    for model in summary["models"]:
        path = store / model["stages"]["evaluation"] / "evaluation.json"
        model["evaluation"] = json.loads(path.read_text("utf-8"))
    return summary


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


def pool(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what the runs say together, by model and between models."""
    count = len(runs[0]["models"])
    sampled = [
        [run["models"][i]["evaluation"]["sampled_by_prompt"] for run in runs] for i in range(count)
    ]
    models = []
    for i in range(count):
        entries = [run["models"][i] for run in runs]
        made = [run["iterations"][i - 1] for run in runs] if i else []
        models.append(
            {
                "name": entries[0]["name"],
                "quality": mean_ci(pooled(sampled[i])),
                "perfect": fmean(e["quality"]["perfect_share"] for e in entries),
                "greedy": fmean(e["quality"]["greedy_mean"] for e in entries),
                "tokens": fmean(e["response_tokens"] for e in entries),
                "fixed": fmean(e["judge"]["fixed_set"]["pairwise_accuracy"] for e in entries),
                "own": fmean(e["judge"]["own_answers"]["pairwise_accuracy"] for e in entries),
                "pairs": fmean(m["pairs"]["kept"] for m in made) if made else None,
                "labels": fmean(m["pairs"]["label_accuracy"] for m in made) if made else None,
            }
        )
    first, last = models[0]["quality"].mean, models[-1]["quality"].mean
    return {
        "models": models,
        "steps": [difference(sampled[i], sampled[i - 1]) for i in range(1, count)],
        "gap_closed": (last - first) / (PERFECT - first),
        "wall_seconds": [run["run"]["wall_seconds"] for run in runs],
        "seeds": [run["run"]["seed"] for run in runs],
    }


def markdown(result: Mapping[str, Any]) -> str:
    """Return the result as Markdown."""
    lines = [
        "| | quality (0–5) | gain | perfect | greedy | judge: fixed set | own answers "
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
            f"| {100 * model['perfect']:.0f} % | {model['greedy']:.2f} | {model['fixed']:.3f} "
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
    print(markdown(pool([read_run(path.parent) for path in runs])))


if __name__ == "__main__":
    main()
