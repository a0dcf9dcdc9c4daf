"""How good the answers are, and whether that is more than sharpening."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from iterdpo.evaluation.statistics import Estimate
from iterdpo.evaluation.summary import ModelSummary
from iterdpo.runs.directory import Run
from iterdpo.runtime.formatting import DASH, count, estimate, number, percent
from iterdpo.tools.report import charts
from iterdpo.tools.report.document import Part, Section, Table, Text
from iterdpo.tools.report.sections.cells import difference_cell, value_cell

CLUSTERED = (
    "Bars are 95 % intervals, clustered by prompt: answers to one prompt count as one observation."
)


def quality(run: Run) -> Section:
    """Return the section on response quality."""
    if not any(model.evaluation.quality for model in run.models):
        return Section("quality", "Quality", [*_without_oracle(run)])
    chart = charts.intervals(
        "quality", "Quality by iteration",
        f"Mean score by the oracle, which the loop never sees, on held-out prompts. {CLUSTERED}",
        [*_points(run)], x="model", y="mean", x_title="", y_title="quality (points)",
        series="answers",
    )  # fmt: skip
    return Section("quality", "Quality", [chart, _table(run)])


def baselines(run: Run) -> Section | None:
    """Return what a model reaches without learning (colder, best of n, greedy), if measured."""
    rows = [*_without_learning(run)]
    if not rows:
        return None
    chart = charts.ranked(
        "baselines", "Learned, or only sharpened?",
        "A policy that merely became surer of itself would do no better than M0 sampled at a lower "
        "temperature, answering greedily, or choosing the best of n answers by its own judgment. "
        + CLUSTERED,
        rows, y="what", x="mean", x_title="quality (points)", series="kind",
    )  # fmt: skip
    if not run.summary.temperature_baselines:
        said = Text("M0 at lower temperatures was not measured in this run.", "quiet")
        return Section("baselines", "Baselines", [chart, said])
    return Section("baselines", "Baselines", [*_beyond_sharpening(run), chart])


def gain_over_initial(model: ModelSummary) -> Estimate | None:
    """Return the paired difference of a model from M0, where it was measured."""
    return model.gains.over_initial if model.gains else None


def gain_over_baseline(run: Run, model: ModelSummary) -> tuple[str, Estimate] | None:
    """Return what the strongest temperature baseline is called, and the paired difference of a
    model from it, where both were measured.
    """
    gain = model.gains.over_baseline if model.gains else None
    baseline = run.summary.strongest_baseline
    return (_baseline_name(run, baseline.temperature), gain) if gain and baseline else None


def _baseline_name(run: Run, temperature: float) -> str:
    return f"{run.models[0].name} at temperature {temperature:g}"


def _beyond_sharpening(run: Run) -> Iterator[Part]:
    """Say of each model, in words, whether it is better than the strongest baseline."""
    found = [(model.name, *beyond) for model in run.models
             if (beyond := gain_over_baseline(run, model))]  # fmt: skip
    if not found:
        return
    yield Text(
        f"Beyond sharpening, against {found[0][1]}, the strongest baseline: "
        + "; ".join(f"{name} {_standing(gain)}" for name, _, gain in found)
        + ". Differences of quality, paired by prompt.",
        "lead",
    )


def _standing(gain: Estimate) -> str:
    low, high = gain.low, gain.high
    clear = low is not None and high is not None and (low > 0 or high < 0)
    side = ("better" if gain.mean > 0 else "worse") if clear else "not told apart from it"
    return f"is {side}, {estimate(gain, sign=True)}"


def _points(run: Run) -> Iterator[dict[str, Any]]:
    for model in run.models:
        if found := model.evaluation.quality:
            for answers, mean, (low, high) in (
                ("sampled", found.mean, found.ci95),
                ("greedy", found.greedy_mean, found.greedy_ci95),
            ):
                yield {"model": model.name, "answers": answers, "mean": mean,
                       "low": low, "high": high}  # fmt: skip


def _table(run: Run) -> Table:
    rows = []
    for model in run.models:
        evaluation, found, gains = model.evaluation, model.evaluation.quality, model.gains
        made = run.summary.iteration(model.iteration)
        labels = made.pairs.quality.label_accuracy if made else None
        rows.append(
            [
                model.name,
                value_cell(found.mean, found.ci95) if found else DASH,
                difference_cell(gains.over_previous if gains else None),
                difference_cell(gains.over_initial if gains else None),
                difference_cell(gains.over_baseline if gains else None),
                percent(found.perfect_share) if found else DASH,
                value_cell(found.greedy_mean, found.greedy_ci95) if found else DASH,
                number(evaluation.response_tokens, 1),
                percent(evaluation.truncated_share, 1),
                percent(evaluation.duplicate_share, 1),
                count(made.pairs.kept if made else None),
                percent(labels.mean if labels else None),
            ]
        )
    qualities = (model.evaluation.quality for model in run.models)
    answered = next(found.n for found in qualities if found)
    return Table(
        "The models",
        ["", "quality", "gain", "over M0", "over baseline", "perfect", "greedy", "tokens",
         "cut off", "repeats", "pairs", "labels right"],
        rows,
        f"Quality: mean of {answered:,} sampled answers, with its 95 % interval clustered by "
        "prompt. Gain: difference from the model before, from M0, and from M0 at its best lower "
        "temperature (baseline), paired by prompt. Perfect: "
        "answers with the highest score. Greedy: quality of the most likely answers. Cut off: "
        "answers that reached the longest length. Repeats: answers that another answer to the same "
        "prompt equals. Pairs and labels: what the model was trained on. Columns that nothing was "
        "measured for are left out.",
    ).without_empty(DASH)  # fmt: skip


def _without_oracle(run: Run) -> Iterator[Part]:
    better = (
        "the head-to-head comparisons are the better measure"
        if run.summary.comparisons
        else "nothing in this run tells the two apart"
    )
    yield Text(
        "No oracle scores the answers of this run, so no quality can be given in points. What a "
        "model believes of its own answers rises with the skill of its answers and with its "
        f"leniency alike; {better}."
    )
    yield Table(
        "The models",
        ["", "own score", "tokens"],
        [
            [model.name, number(own.judged_mean), number(own.response_tokens, 1)]
            for model in run.models
            for own in [model.evaluation]
        ],
        "Own score: mean score that the model gives its own sampled answers to held-out prompts.",
    )


def _without_learning(run: Run) -> Iterator[dict[str, Any]]:
    """Yield the quality of each model, and what each reaches without learning anything."""
    for model in run.models:
        found = model.evaluation.quality
        if not found:
            continue
        name = model.name
        yield _bar(f"{name} sampled", "sampled", found.mean, *found.ci95)
        for best in model.evaluation.best_of:
            if best.n > 1:
                own = best.quality
                yield _bar(f"{name} best of {best.n}", "best of n", own.mean, own.low, own.high)
        yield _bar(f"{name} greedy", "greedy", found.greedy_mean, *found.greedy_ci95)
        if model.iteration == 0:
            for item in run.summary.temperature_baselines:
                what, own = _baseline_name(run, item.result.temperature), item.result.quality
                yield _bar(what, "lower temperature", own.mean, own.low, own.high)


def _bar(
    what: str, kind: str, mean: float, low: float | None, high: float | None
) -> dict[str, Any]:
    return {"what": what, "kind": kind, "mean": mean, "low": low, "high": high}
