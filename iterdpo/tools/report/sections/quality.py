"""How good the answers are, and whether that is more than sharpening."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from iterdpo.runs.directory import Run
from iterdpo.tools.report import charts
from iterdpo.tools.report.document import Cell, Part, Section, Table, Text
from iterdpo.tools.report.formatting import DASH, estimate, interval, number, percent

Model = Mapping[str, Any]

CLUSTERED = (
    "Bars are 95 % intervals, clustered by prompt: answers to one prompt count as one observation."
)


def quality(run: Run) -> Section:
    """Return the section on response quality."""
    models = run.models
    if not any(model["quality"] for model in models):
        return Section("quality", "Quality", [*_without_oracle(run)])
    rows = [*_points(models)]
    chart = charts.intervals(
        "quality", "Quality by iteration",
        "Mean score by the oracle, which the loop never sees, on held-out prompts. " + CLUSTERED
        + ("" if any(row["low"] is not None and row["answers"] == "greedy" for row in rows)
           else " No interval was computed for greedy answers."),
        rows, x="model", y="mean", x_title="", y_title="quality (points)", series="answers",
    )  # fmt: skip
    return Section("quality", "Quality", [chart, _table(run)])


def controls(run: Run) -> Section | None:
    """Return what a model reaches without learning (colder, best of n, greedy), if measured."""
    rows = [*_controls(run)]
    if not any(row["kind"] != "sampled" for row in rows):
        return None
    chart = charts.ranked(
        "controls", "Learned, or only sharpened?",
        "A policy that merely became surer of itself would do no better than M0 sampled at a lower "
        "temperature, answering greedily, or choosing the best of n answers by its own judgment. "
        + CLUSTERED,
        rows, y="what", x="mean", x_title="quality (points)", series="kind",
    )  # fmt: skip
    if not run.summary.get("controls"):
        said = Text("M0 at lower temperatures was not measured in this run.", "quiet")
        return Section("controls", "Controls", [chart, said])
    return Section("controls", "Controls", [*_beyond(run), chart])


def gain_over_initial(model: Model) -> Mapping[str, Any] | None:
    """Return the paired difference of a model from M0, where it was measured."""
    gain = model.get("gain")
    over: Mapping[str, Any] | None = gain["over_initial"] if gain else None
    return over


def gain_over_control(run: Run, model: Model) -> tuple[str, Mapping[str, Any]] | None:
    """Return what the strongest control is called, and the paired difference of a model from it."""
    gain = (model.get("gain") or {}).get("over_control")
    control = next((c for c in run.summary.get("controls") or () if c.get("strongest")), None)
    return (_called(control), gain) if gain and control else None


def _called(control: Mapping[str, Any]) -> str:
    return f"{control['model']} at temperature {control['temperature']:g}"


def _beyond(run: Run) -> Iterator[Part]:
    """Say of each model, in words, whether it is better than the strongest control."""
    found = [(model["name"], *beyond) for model in run.models
             if (beyond := gain_over_control(run, model))]  # fmt: skip
    if not found:
        return
    yield Text(
        f"Beyond sharpening, against {found[0][1]}, the strongest control: "
        + "; ".join(f"{name} {_standing(gain)}" for name, _, gain in found)
        + ". Differences of quality, paired by prompt.",
        "lead",
    )


def _standing(gain: Mapping[str, Any]) -> str:
    clear = gain["low"] is not None and (gain["low"] > 0 or gain["high"] < 0)
    side = ("better" if gain["mean"] > 0 else "worse") if clear else "not told apart from it"
    return f"is {side}, {estimate(gain, sign=True)}"


def _points(models: Sequence[Model]) -> Iterator[dict[str, Any]]:
    for model in models:
        found = model["quality"]
        if not found:
            continue
        low, high = found["ci95"]
        yield {"model": model["name"], "answers": "sampled", "mean": found["mean"],
               "low": low, "high": high}  # fmt: skip
        low, high = found.get("greedy_ci95") or (None, None)
        yield {"model": model["name"], "answers": "greedy", "mean": found["greedy_mean"],
               "low": low, "high": high}  # fmt: skip


def _table(run: Run) -> Table:
    made = {entry["iteration"]: entry for entry in run.summary["iterations"]}
    rows = []
    for model in run.models:
        found = model["quality"]
        gain = model.get("gain") or {}
        pairs = made[model["iteration"]]["pairs"] if model["iteration"] in made else None
        rows.append(
            [
                model["name"],
                _with_interval(found["mean"], *found["ci95"]) if found else DASH,
                _gain(gain.get("over_previous")),
                _gain(gain.get("over_initial")),
                _gain(gain.get("over_control")),
                percent(found["perfect_share"]) if found else DASH,
                _with_interval(found["greedy_mean"], *(found.get("greedy_ci95") or (None, None)))
                if found
                else DASH,
                number(model["response_tokens"], 1),
                percent(model.get("truncated_share"), 1),
                percent(model.get("duplicate_share"), 1),
                f"{pairs['kept']:,}" if pairs else DASH,
                percent(pairs["label_accuracy"]) if pairs else DASH,
            ]
        )
    answered = next(model["quality"]["n"] for model in run.models if model["quality"])
    return Table(
        "The models",
        ["", "quality", "gain", "over M0", "over control", "perfect", "greedy", "tokens", "cut off",
         "repeats", "pairs", "labels right"],
        rows,
        f"Quality: mean of {answered:,} sampled answers, with its 95 % interval clustered by "
        "prompt. Gain: difference from the model before, from M0, and from M0 at its best lower "
        "temperature (control), paired by prompt. Perfect: "
        "answers with the highest score. Greedy: quality of the most likely answers. Cut off: "
        "answers that reached the longest length. Repeats: answers that another answer to the same "
        "prompt equals. Pairs and labels: what the model was trained on. Columns that nothing was "
        "measured for are left out.",
    ).without_empty(DASH)  # fmt: skip


def _without_oracle(run: Run) -> Iterator[Part]:
    better = (
        "the head-to-head comparisons are the better measure"
        if run.summary.get("comparisons")
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
            [model["name"], number(model["judged_mean"]), number(model["response_tokens"], 1)]
            for model in run.models
        ],
        "Own score: mean score that the model gives its own sampled answers to held-out prompts.",
    )


def _controls(run: Run) -> Iterator[dict[str, Any]]:
    for model in run.models:
        found = model["quality"]
        if not found:
            continue
        name = model["name"]
        low, high = found["ci95"]
        yield {"what": f"{name} sampled", "kind": "sampled", "mean": found["mean"],
               "low": low, "high": high}  # fmt: skip
        for best in model.get("best_of") or ():
            if best["n"] > 1 and best["quality"]:
                yield _control(f"{name} best of {best['n']}", "best of n", best["quality"])
        if found.get("greedy_ci95"):
            low, high = found["greedy_ci95"]
            yield {"what": f"{name} greedy", "kind": "greedy", "mean": found["greedy_mean"],
                   "low": low, "high": high}  # fmt: skip
        if model["iteration"] == 0:
            for control in run.summary.get("controls") or ():
                if control["quality"]:
                    yield _control(_called(control), "lower temperature", control["quality"])


def _control(what: str, kind: str, value: Mapping[str, Any]) -> dict[str, Any]:
    return {"what": what, "kind": kind, **{key: value[key] for key in ("mean", "low", "high")}}


def _with_interval(mean: float, low: float | None, high: float | None) -> Cell:
    return Cell(number(mean), note=interval(low, high))


def _gain(value: Mapping[str, Any] | None) -> Cell | str:
    if value is None:
        return DASH
    low, high = value["low"], value["high"]
    clear = low is not None and high is not None and (low > 0 or high < 0)
    mark = ("up" if value["mean"] > 0 else "down") if clear else ""
    return Cell(number(value["mean"], 3, sign=True), mark, interval(low, high, 3, sign=True))


def headline(model: Model) -> str:
    """Return a model's quality with its interval, or nothing without an oracle."""
    found = model["quality"]
    if not found:
        return ""
    low, high = found["ci95"]
    return estimate({"mean": found["mean"], "low": low, "high": high})
