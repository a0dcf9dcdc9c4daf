"""Runs beside each other: by setting, by iteration, by length, and what differs between them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import fmean

from iterdpo.evaluation.summary import ModelSummary
from iterdpo.runs.directory import Run
from iterdpo.runtime.formatting import DASH, duration, interval, listed, number, percent
from iterdpo.tools.report import charts, settings
from iterdpo.tools.report.document import Cell, Chart, Part, Row, Section, Table, Text
from iterdpo.tools.report.measures import Measure, ended
from iterdpo.tools.report.sections.cells import value_cell
from iterdpo.tools.report.sections.cost import computing
from iterdpo.tools.report.sections.quality import CLUSTERED
from iterdpo.tools.report.sweep import (
    RunGroup,
    SettingsComparison,
    compared_keys,
    deviation,
    front,
    name_of,
    significant,
)

SEEDS = (
    "Runs that differ only in their seed are pooled. The intervals are for other prompts, not for "
    "other trainings: how far those of one setting come out apart is seen in the seeds' own values."
)


def comparing(
    compared: SettingsComparison,
    measure: Measure,
    runs: Sequence[Run],
    models: Mapping[int, ModelSummary],
) -> list[Section]:
    """Return the sections that compare settings.

    Args:
        compared: the settings, from the best to the worst.
        measure: what they were compared by.
        runs: all runs of the page.
        models: the model of each run that was compared, by the run's place.
    """
    return [
        Section("comparison", _title(compared), [*_comparison(compared, measure, runs, models)]),
        Section("path", "By iteration", [_path(runs, compared, measure)]),
        Section("length", "Quality and length", [_pareto(compared, measure)]),
    ]


def the_runs(runs: Sequence[Run]) -> Section:
    """Return the section that lists the runs, what differs between them, and their commands."""
    return Section("runs", "The runs", [*_runs(runs, [settings.flat(run.values) for run in runs])])


def _title(compared: SettingsComparison) -> str:
    return f"By {listed(list(compared.keys))}" if compared.keys else "All seeds together"


def _comparison(
    compared: SettingsComparison,
    measure: Measure,
    runs: Sequence[Run],
    models: Mapping[int, ModelSummary],
) -> Iterator[Part]:
    if len(compared.settings) > 1:
        yield _against_setting(compared, measure)
    yield _settings_table(compared, measure, runs, models)
    if len(compared.settings) > 2:
        yield Text(
            f"The best of {len(compared.settings)} settings was picked on the very prompts that "
            "its figure is measured on, so the figure is a little too good; the intervals are not "
            "widened for looking at several.",
            "quiet",
        )


def _against_setting(compared: SettingsComparison, measure: Measure) -> Chart:
    axis = _numbers(compared)
    rows = [
        {
            "setting": axis[setting.values] if axis else ", ".join(setting.values),
            "mean": setting.quality.mean,
            "low": setting.quality.low,
            "high": setting.quality.high,
            "runs": len(setting.members),
        }
        for setting in compared.settings
    ]
    values: list[float] | None = None
    if axis:
        rows.sort(key=lambda row: float(row["setting"] or 0))
        values = sorted(axis.values())
    wide = bool(values) and values is not None and values[0] > 0 and values[-1] / values[0] >= 5
    return charts.intervals(
        "settings", f"{measure.name.capitalize()} against {listed(list(compared.keys))}",
        f"{measure.explained} {SEEDS} {CLUSTERED}",
        rows, x="setting", y="mean", x_title=listed(list(compared.keys)), y_title=measure.name,
        x_values=values, log=wide, line=bool(axis),
    )  # fmt: skip


def _numbers(compared: SettingsComparison) -> dict[tuple[str, ...], float] | None:
    """Return each setting's place on an axis of numbers, or None where it is not one number."""
    if len(compared.keys) != 1:
        return None
    try:
        return {setting.values: float(setting.values[0]) for setting in compared.settings}
    except ValueError:
        return None


def _in_order(compared: SettingsComparison) -> list[RunGroup]:
    """Return the settings in the order of their numbers, or from the best to the worst."""
    axis = _numbers(compared) or {}
    return sorted(compared.settings, key=lambda setting: axis.get(setting.values, 0.0))


def _settings_table(
    compared: SettingsComparison,
    measure: Measure,
    runs: Sequence[Run],
    models: Mapping[int, ModelSummary],
) -> Table:
    rows: list[list[str | Cell]] = []
    leads = zip(compared.settings, compared.ahead, compared.ahead_by_seed, strict=True)
    for place, (setting, ahead, by_seed) in enumerate(leads):
        quality = setting.quality
        members = [(runs[member.index], models[member.index]) for member in setting.members]
        last = [run.summary.iterations[-1].pairs for run, _ in members if run.summary.iterations]
        labels = [pairs.quality.label_accuracy for pairs in last]
        behind = DASH if place else Cell("best", "best")
        rows.append(
            [
                name_of(compared, setting),
                Cell(number(quality.mean, measure.digits), "best" if place == 0 else "",
                     interval(quality.low, quality.high, measure.digits)),
                behind if ahead is None else Cell(
                    number(-ahead.mean, measure.digits, sign=True),
                    "down" if significant(ahead) else "",
                    interval(None if ahead.high is None else -ahead.high,
                             None if ahead.low is None else -ahead.low, measure.digits, sign=True),
                ),
                ", ".join(number(-gap, measure.digits, sign=True) for gap in by_seed) or DASH,
                number(setting.tokens, 1),
                number(_mean(_accuracy(model) for _, model in members), 3),
                number(_mean(pairs.kept for pairs in last), 0),
                percent(_mean(label.mean if label else None for label in labels)),
                _seed_cell(setting, measure),
            ]
        )  # fmt: skip
    return Table(
        "From best to worst",
        ["", measure.name, "behind the best", "behind at each seed", "tokens", "judge", "pairs",
         "labels right", "each seed"],
        rows,
        f"With 95 % intervals. {SEEDS} Behind the best: difference paired by seed and prompt; "
        "colored where 0 lies outside the interval. SD: standard deviation of the seeds' values. "
        "Judge: pairwise accuracy on the reference set. "
        "Pairs and labels: of the last iteration. Means over the seeds.",
    ).without_empty(DASH)  # fmt: skip


def _seed_cell(setting: RunGroup, measure: Measure) -> Cell:
    values = setting.by_seed
    apart = deviation([value for _, value in values])
    return Cell(
        ", ".join(f"{seed}: {number(value, measure.digits)}" for seed, value in values),
        note="" if apart is None else f"SD {number(apart, measure.digits)}",
    )


def _path(runs: Sequence[Run], compared: SettingsComparison, measure: Measure) -> Chart:
    rows: list[Row] = []
    for setting in _in_order(compared):
        levels = min(len(runs[member.index].models) for member in setting.members)
        for level in range(levels):
            members = []
            for member in setting.members:
                run = runs[member.index]
                scores = measure.scores(run, run.models[level])
                members += [replace(member, scores=scores)] if scores else []
            if members:
                quality = RunGroup(setting.values, tuple(members)).quality
                rows.append({"model": runs[setting.members[0].index].models[level].name,
                             "setting": name_of(compared, setting), "mean": quality.mean,
                             "low": quality.low, "high": quality.high})  # fmt: skip
    return charts.intervals(
        "path", f"{measure.name.capitalize()} by iteration",
        f"{measure.explained} {SEEDS} {CLUSTERED}",
        rows, x="model", y="mean", x_title="", y_title=measure.name, series="setting",
        ordered=_numbers(compared) is not None,
    )  # fmt: skip


def _pareto(compared: SettingsComparison, measure: Measure) -> Chart:
    ordered = _in_order(compared)
    points = [(setting.tokens, setting.quality.mean) for setting in ordered]
    rows = [
        {
            "setting": name_of(compared, setting),
            "tokens": setting.tokens,
            "mean": setting.quality.mean,
            "low": setting.quality.low,
            "high": setting.quality.high,
            "front": "yes" if best else "no",
        }
        for setting, best in zip(ordered, front(points), strict=True)
    ]
    return charts.scatter(
        "pareto", f"{measure.name.capitalize()} against length",
        "Mean length of the compared model's sampled answers. Named and joined: the settings that "
        f"no other beats in both. {CLUSTERED}",
        rows, x="tokens", y="mean", x_title="tokens an answer", y_title=measure.name,
        label="setting", series="setting",
    )  # fmt: skip


def _runs(runs: Sequence[Run], values: Sequence[settings.Settings]) -> Iterator[Part]:
    telling = compared_keys(values)
    keys = [*telling, *(key for key in settings.differing(values) if key not in telling)]
    rows = []
    for run, flat in zip(runs, values, strict=True):
        last = run.models[-1]
        quality = last.evaluation.quality
        rows.append(
            [
                run.name,
                *(flat.get(key, DASH) for key in keys),
                last.name if ended(run) else f"{last.name}, not at its end",
                value_cell(quality.mean, quality.ci95) if quality else DASH,
                number(last.evaluation.response_tokens, 1),
                duration(computing([run])),
            ]
        )
    yield Table(
        "What differs",
        ["run", *keys, "last model", "quality", "tokens", "computing"],
        rows,
        "Only settings that differ are shown; all others are the same in every run. Computing is "
        "the time that the run's stages took when they were computed, those included that it "
        "shares with other runs and found in the store.",
        texts=range(1, len(keys) + 2),
    )
    command = [(run.name, settings.command(run)) for run in runs]
    if any(said for _, said in command):
        yield Table(
            "Commands",
            ["run", "command"],
            [[name, said or "not known"] for name, said in command],
            texts=(1,),
        )


def _accuracy(model: ModelSummary) -> float | None:
    return model.evaluation.judge.reference_set.pairwise_accuracy


def _mean(values: Iterator[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return fmean(there) if there else None
