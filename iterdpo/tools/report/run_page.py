"""The page of one run."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from iterdpo.runs.directory import CONFIG_FILE, Run
from iterdpo.tools.report import pairs, settings
from iterdpo.tools.report.document import Browser, Cell, Document, Fact, Section, Table
from iterdpo.tools.report.formatting import (
    count,
    duration,
    estimate,
    interval,
    number,
    percent,
    percent_interval,
)
from iterdpo.tools.report.mistake import mistake
from iterdpo.tools.report.sections.cost import computing, cost
from iterdpo.tools.report.sections.data_generation import making
from iterdpo.tools.report.sections.judge import judge
from iterdpo.tools.report.sections.quality import (
    controls,
    gain_over_control,
    gain_over_initial,
    headline,
    quality,
)
from iterdpo.tools.report.sections.repeating import all_settings, repeating
from iterdpo.tools.report.sections.training import training
from iterdpo.tools.report.sections.versus import versus


def document(run: Run) -> Document:
    """Return the page of a run, finished or not."""
    found = pairs.find([run])
    browsed = pairs.for_page(found, [run]) if found.pairs else None
    sections = [
        quality(run), controls(run), versus(run), judge(run), making(run, found), training(run),
        cost(run), _alarms(run),
        Section("pairs", "Pair browser", [Browser()]) if found.pairs else None,
        repeating(run, settings.shipped()), all_settings(run),
    ]  # fmt: skip
    return Document(
        title=_title(run),
        subtitle=_subtitle(run),
        verdict=verdict(run),
        facts=[*_facts(run)],
        sections=[section for section in sections if section],
        pairs=browsed,
        warnings=[str(alarm["message"]) for alarm in _alarm_list(run)],
        state=_state(run),
        mistake=mistake(found, browsed),
    )


def verdict(run: Run) -> str:
    """Return which model is best, in a sentence or two."""
    best = run.summary.get("best")
    measured = [model for model in run.models if model["quality"]]
    if best and (model := next((m for m in run.models if m["name"] == best["model"]), None)):
        said = f"{best['model']} is the best model: {str(best['why']).strip().rstrip('.')}."
        gain = gain_over_initial(model)
        if not gain:
            return said
        said += f" Its gain over M0 is {estimate(gain, sign=True)}"
        if beyond := gain_over_control(run, model):
            said += f", over {beyond[0]} {estimate(beyond[1], sign=True)}"
        return f"{said}."
    if not measured:
        return f"{run.models[-1]['name']} is the latest model; no oracle says how good it is."
    top = max(measured, key=lambda model: model["quality"]["mean"])
    said = f"{top['name']} is the best model by the oracle: quality {headline(top)}"
    first = measured[0]
    if top is not first:
        said += f", where {first['name']} has {headline(first)}"
    return said + "."


def finished(run: Run) -> bool:
    """Say whether every iteration that was asked for is measured."""
    return len(run.models) > int(run.values["iterations"])


def _state(run: Run) -> str:
    if stopped := run.summary.get("stopped"):
        return f"The run {stopped['message']}."
    if finished(run):
        return ""
    done, asked = len(run.models) - 1, run.values["iterations"]
    return (
        f"{done} of {asked} iterations are measured. The page is written anew after each; load it "
        "again to see more."
    )


def _subtitle(run: Run) -> str:
    values, engine = run.values, run.summary["run"]["engine"]
    began = datetime.fromtimestamp((run.directory / CONFIG_FILE).stat().st_mtime)
    model, adapter = values["model"], values["model"]["adapter"]
    trained = f"rank {adapter['rank']}" if adapter else "every weight"
    return " · ".join(
        [
            f"{began:%Y-%m-%d %H:%M}",
            f"model {model['name']} ({model['quantization']}, {model['dtype']}, {trained})",
            f"{engine.get('engine')} on {engine.get('device')}",
            f"seed {values['seed']}",
        ]
    )


def _facts(run: Run) -> Iterator[Fact]:
    first, last = run.models[0], run.models[-1]
    if first["quality"] and last["quality"]:
        low, high = last["quality"]["ci95"]
        yield Fact(
            f"quality, {first['name']} → {last['name']}" if last is not first else "quality",
            f"{number(first['quality']['mean'])} → {number(last['quality']['mean'])}"
            if last is not first
            else number(last["quality"]["mean"]),
            f"{last['name']}: {interval(low, high)}" if low is not None else "",
        )
    if gain := gain_over_initial(last):
        yield Fact("gain over M0", number(gain["mean"], 2, sign=True),
                   interval(gain["low"], gain["high"], 2, sign=True))  # fmt: skip
    if beyond := gain_over_control(run, last):
        yield Fact(f"gain over {beyond[0]}", number(beyond[1]["mean"], 2, sign=True),
                   interval(beyond[1]["low"], beyond[1]["high"], 2, sign=True))  # fmt: skip
    entries = run.summary["iterations"]
    if entries:
        kept = sum(entry["pairs"]["kept"] for entry in entries)
        asked = kept + sum(sum(entry["pairs"]["dropped"].values()) for entry in entries)
        yield Fact("pairs", count(kept), f"of {asked:,} prospective")
        name, made = f"M{entries[-1]['iteration']}", entries[-1]["pairs"]
        if (right := made["label_accuracy"]) is not None:
            span = percent_interval(made.get("label_accuracy_ci95"))
            yield Fact("labels right", percent(right), f"{span}, for {name}".removeprefix(", "))
    yield Fact("computing", duration(computing([run])),
               f"{count(len(run.models) - 1, 'iteration')}; last start "
               f"{duration(run.summary['run']['wall_seconds'])}")  # fmt: skip


def _alarm_list(run: Run) -> list[dict[str, object]]:
    return list(run.summary.get("alarms") or ())


def _at(alarm: dict[str, object]) -> str:
    return f"M{alarm['iteration']}"


def _alarms(run: Run) -> Section | None:
    found = _alarm_list(run)
    if not found:
        return None
    rows: list[list[str | Cell]] = [
        [_at(alarm), str(alarm["name"]), _figure(alarm["value"]), _figure(alarm["threshold"]),
         str(alarm["message"])]
        for alarm in found
    ]  # fmt: skip
    table = Table("Alarms", ["", "alarm", "value", "threshold", "what it means"], rows,
                  texts=(1, 4))  # fmt: skip
    return Section("alarms", "Alarms", [table])


def _figure(value: object) -> str:
    return number(value, 3) if isinstance(value, int | float) else str(value)


def _title(run: Run) -> str:
    """Return the run's name; a sweep's job is called by a number only, so with the sweep's name."""
    return f"{run.directory.resolve().parent.name}/{run.name}" if run.name.isdigit() else run.name
