"""The page of several runs, or of a sweep."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from iterdpo.evaluation.summary import ModelSummary
from iterdpo.runs.directory import Run
from iterdpo.runtime.formatting import count, duration, estimate, interval, listed, number
from iterdpo.tools.report import pairs, settings
from iterdpo.tools.report.comparability import unlike
from iterdpo.tools.report.document import Browser, Document, Fact, Section
from iterdpo.tools.report.measures import Measure, compared_models, members
from iterdpo.tools.report.mistake import mistake
from iterdpo.tools.report.sections.comparing import comparing, the_runs
from iterdpo.tools.report.sections.cost import computing
from iterdpo.tools.report.sweep import (
    RunGroup,
    SettingsComparison,
    compare,
    deviation,
    name_of,
    significant,
)


def document(runs: Sequence[Run], title: str) -> Document:
    """Return the page that compares ``runs``."""
    chosen, notes = compared_models(runs)
    measure, measured = members(runs, chosen)
    found = pairs.find(runs)
    browsed = pairs.for_page(found, runs) if found.pairs else None
    compared = compare(measured) if measured else None
    there = {member.index for member in measured}
    if measured and (left := [runs[index].name for index, _ in chosen if index not in there]):
        notes.append(f"Not compared, because nothing measures them: {listed(left)}.")
    said = "Nothing measures the answers of these runs, so none can be called the best."
    if compared:
        alike = unlike(measure, [runs[member.index] for member in measured])
        said = " ".join([*alike, verdict(compared, measure, chosen)])
    return Document(
        title=title,
        subtitle=f"{count(len(runs), 'run')} compared",
        verdict=said,
        facts=[*_facts(runs, compared, measure)],
        sections=[
            *(comparing(compared, measure, runs, dict(chosen)) if compared else []),
            the_runs(runs),
            *([Section("pairs", "Pair browser", [Browser()])] if found.pairs else []),
        ],
        pairs=browsed,
        warnings=[
            f"run {run.name}, {alarm.message}" for run in runs for alarm in run.summary.alarms
        ],
        state=" ".join(notes),
        mistake=mistake(found, browsed, *_best_runs(compared)),
    )


def _best_runs(compared: SettingsComparison | None) -> tuple[list[int], str]:
    """Return the places of the best setting's runs, and what they are called."""
    if not compared:
        return [], ""
    best = compared.best
    name = name_of(compared, best) if len(compared.settings) > 1 else ""
    return [member.index for member in best.members], name


def verdict(
    compared: SettingsComparison, measure: Measure, chosen: Sequence[tuple[int, ModelSummary]]
) -> str:
    """Say which setting is best, how good it is, and whether that is more than chance."""
    best, names = compared.best, sorted({model.name for _, model in chosen})
    over = f"{count(len(best.members), 'run')}, {count(best.quality.clusters, 'prompt')}"
    reached = f"{measure.name} {estimate(best.quality, measure.digits)}"
    at = f"at {listed(names)}" if len(names) == 1 else "at each run's last model"
    if len(compared.settings) == 1:
        said = f"All runs have the same settings but for their seeds: {reached} {at} ({over})."
        return said + _seeds(best, measure)
    said = f"{name_of(compared, best)} is best: {reached} {at} ({over}). "
    second, ahead = compared.settings[1], compared.ahead[1]
    if ahead is None:
        return said + f"It shares no prompt with the next, {name_of(compared, second)}."
    gap = estimate(ahead, measure.digits, sign=True)
    differs = "differs significantly" if significant(ahead) else "does not differ significantly"
    return said + (
        f"It {differs} from the next, {name_of(compared, second)}: {gap}, paired by prompt."
        f"{_trainings(compared, measure)}"
    )


def _seeds(setting: RunGroup, measure: Measure) -> str:
    """Say how far the trainings of one setting came out apart, which no interval holds."""
    values = [value for _, value in setting.by_seed]
    apart = deviation(values)
    if apart is None:
        return ""
    low, high, sd = (number(value, measure.digits) for value in (min(values), max(values), apart))
    return f" The runs themselves lie from {low} to {high}, with a standard deviation of {sd}."


def _trainings(compared: SettingsComparison, measure: Measure) -> str:
    """Say whether the trainings agree with a lead whose interval is for other prompts."""
    leads = compared.ahead_by_seed[1]
    if leads:
        each = ", ".join(number(gap, measure.digits, sign=True) for gap in leads)
        return f" Ahead at {sum(gap > 0 for gap in leads)} of {len(leads)} seeds: {each}."
    if min(len(setting.members) for setting in compared.settings[:2]) == 1:
        return " Of one training a setting, nothing says how another would come out."
    return ""


def _facts(
    runs: Sequence[Run], compared: SettingsComparison | None, measure: Measure
) -> Iterator[Fact]:
    if compared:
        best = compared.best
        span = interval(best.quality.low, best.quality.high, 2)
        yield Fact(f"best {measure.name}", number(best.quality.mean), span)
        if compared.keys:
            yield Fact(f"with {listed(list(compared.keys))}", ", ".join(best.values),
                       f"of {count(len(compared.settings), 'setting')}")  # fmt: skip
        if len(compared.settings) > 1 and (ahead := compared.ahead[1]):
            yield Fact("ahead of the next", number(ahead.mean, 3, sign=True),
                       interval(ahead.low, ahead.high, 3, sign=True))  # fmt: skip
    seeds = {settings.flat(run.values).get("seed") for run in runs}
    yield Fact("runs", f"{len(runs)}", count(len(seeds), "seed"))
    yield Fact("computing", duration(computing(runs)), "in all, shared stages once")
