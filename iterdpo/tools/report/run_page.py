"""The page of one run."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from iterdpo.evaluation.statistics import Estimate
from iterdpo.runs.directory import CONFIG_FILE, Run
from iterdpo.runtime.formatting import (
    count,
    duration,
    estimate,
    interval,
    number,
    percent,
    percent_interval,
)
from iterdpo.tools.report import pairs, settings
from iterdpo.tools.report.document import Browser, Cell, Document, Fact, Section, Table
from iterdpo.tools.report.mistake import mistake
from iterdpo.tools.report.sections.cost import computing, cost
from iterdpo.tools.report.sections.data_generation import data_generation
from iterdpo.tools.report.sections.judge import judge
from iterdpo.tools.report.sections.quality import (
    baselines,
    gain_over_baseline,
    gain_over_initial,
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
        quality(run), baselines(run), versus(run), judge(run), data_generation(run, found),
        training(run), cost(run), _alarms(run),
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
        warnings=[alarm.message for alarm in run.summary.alarms],
        state=_state(run),
        mistake=mistake(found, browsed),
    )


def verdict(run: Run) -> str:
    """Return which model is best, in a sentence or two."""
    best = run.summary.best
    said = f"{best.model} is the best model: {best.why.strip().rstrip('.')}."
    model = next(model for model in run.models if model.name == best.model)
    gain = gain_over_initial(model)
    if not gain:
        return said
    said += f" Its gain over M0 is {estimate(gain, sign=True)}"
    if beyond := gain_over_baseline(run, model):
        said += f", over {beyond[0]} {estimate(beyond[1], sign=True)}"
    return f"{said}."


def finished(run: Run) -> bool:
    """Say whether every iteration that was asked for is measured."""
    return len(run.models) > int(run.values["iterations"])


def _state(run: Run) -> str:
    if run.summary.stopped:
        return f"The run {run.summary.stopped.message}."
    if finished(run):
        return ""
    done, asked = len(run.models) - 1, run.values["iterations"]
    return (
        f"{done} of {asked} iterations are measured. The page is written anew after each; load it "
        "again to see more."
    )


def _subtitle(run: Run) -> str:
    values, engine = run.values, run.summary.run.engine
    began = datetime.fromtimestamp((run.directory / CONFIG_FILE).stat().st_mtime)
    model, adapter = values["model"], values["model"]["adapter"]
    trained = f"rank {adapter['rank']}" if adapter else "every weight"
    return " · ".join(
        [
            f"{began:%Y-%m-%d %H:%M}",
            f"model {model['name']} ({model['quantization']}, {model['dtype']}, {trained})",
            f"{engine.name} on {engine.device}",
            f"seed {values['seed']}",
        ]
    )


def _facts(run: Run) -> Iterator[Fact]:
    first, last = run.models[0], run.models[-1]
    start, end = first.evaluation.quality, last.evaluation.quality
    if start and end:
        low, high = end.ci95
        yield Fact(
            f"quality, {first.name} → {last.name}" if last is not first else "quality",
            f"{number(start.mean)} → {number(end.mean)}" if last is not first else number(end.mean),
            f"{last.name}: {interval(low, high)}" if low is not None else "",
        )
    if gain := gain_over_initial(last):
        yield _gain("gain over M0", gain)
    if beyond := gain_over_baseline(run, last):
        yield _gain(f"gain over {beyond[0]}", beyond[1])
    entries = run.summary.iterations
    if entries:
        kept = sum(entry.pairs.kept for entry in entries)
        asked = kept + sum(sum(entry.pairs.dropped.values()) for entry in entries)
        yield Fact("pairs", count(kept), f"of {asked:,} prospective")
        if right := entries[-1].pairs.quality.label_accuracy:
            span = percent_interval((right.low, right.high))
            said = f"{span}, for M{entries[-1].iteration}"
            yield Fact("labels right", percent(right.mean), said.removeprefix(", "))
    yield Fact("computing", duration(computing([run])),
               f"{count(len(run.models) - 1, 'iteration')}; last start "
               f"{duration(run.summary.run.wall_seconds)}")  # fmt: skip


def _gain(name: str, gain: Estimate) -> Fact:
    return Fact(name, number(gain.mean, 2, sign=True), interval(gain.low, gain.high, 2, sign=True))


def _alarms(run: Run) -> Section | None:
    if not run.summary.alarms:
        return None
    rows: list[list[str | Cell]] = [
        [f"M{alarm.iteration}", alarm.name, number(alarm.value, 3), number(alarm.threshold, 3),
         alarm.message]
        for alarm in run.summary.alarms
    ]  # fmt: skip
    table = Table("Alarms", ["", "alarm", "value", "threshold", "what it means"], rows,
                  texts=(1, 4))  # fmt: skip
    return Section("alarms", "Alarms", [table])


def _title(run: Run) -> str:
    """Return the run's name; a sweep's job is called by a number only, so with the sweep's name."""
    return f"{run.directory.resolve().parent.name}/{run.name}" if run.name.isdigit() else run.name
