"""Where the time, the memory and the tokens went."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from iterdpo.errors import UserError
from iterdpo.evaluation.summary import StageUsage
from iterdpo.runs.directory import Run
from iterdpo.runtime.formatting import DASH, count, duration, memory_size, number
from iterdpo.stages import names
from iterdpo.store.peak_memory import highest
from iterdpo.tools.report import charts
from iterdpo.tools.report.document import Part, Row, Section, Table

STAGES = {
    names.BASE: "var(--drop-4)", names.SFT: "var(--drop-3)", names.PROMPTS: "var(--faint)",
    names.CANDIDATES: "var(--series-1)", names.JUDGMENTS: "var(--series-2)",
    names.PAIRS: "var(--drop-1)", names.ADAPTER: "var(--series-3)", names.ANSWERS: "var(--cost-1)",
    names.ANSWER_JUDGMENTS: "var(--cost-2)", names.COMPARISONS: "var(--cost-3)",
    names.EVALUATION: "var(--series-4)",
}  # fmt: skip
SMALL = 0.01
"""Of all seconds: a stage below it has no color of its own, and without tokens no row either."""
OTHERS = "others"


@dataclass(frozen=True, slots=True)
class Cost:
    """What the stages of one name took for one model."""

    model: str
    stage: str
    seconds: float
    peaks: Mapping[str, int | None]
    used: StageUsage | None
    """None where the stage asked no engine, or it is not told apart."""


def cost(run: Run) -> Section:
    """Return the section on time, memory and tokens."""
    costs = [*_initial(run), *_of_iterations(run)]
    if not costs:
        return Section("cost", "Time, memory and tokens", [])
    rows = _by_stage(costs)
    plain = {str(row["stage"]): "var(--faint)" for row in rows if row["stage"] not in STAGES}
    colors = {**STAGES, **plain}
    parts: list[Part] = [
        charts.stacked(
            "seconds", "Time by stage",
            "Seconds that each stage took when it was computed. A stage that this run read from "
            f"the store took no time here and shows what it once took. {OTHERS.capitalize()}: "
            "stages below a hundredth of all time.",
            rows, y="iteration", x="seconds", x_title="seconds", series="stage", colors=colors,
        ),
        _table(run, costs),
    ]  # fmt: skip
    return Section("cost", "Time, memory and tokens", parts)


def _by_stage(costs: Sequence[Cost]) -> list[Row]:
    """Return the seconds of each model's stages, the small ones together."""
    took: defaultdict[str, float] = defaultdict(float)
    for item in costs:
        took[item.stage] += item.seconds
    small = SMALL * sum(took.values())
    named = {stage for stage, seconds in took.items() if seconds >= small}
    rows: defaultdict[tuple[str, str], float] = defaultdict(float)
    for item in costs:
        rows[item.model, item.stage if item.stage in named else OTHERS] += item.seconds
    return [
        {"iteration": model, "stage": stage, "seconds": round(seconds, 3)}
        for (model, stage), seconds in rows.items()
    ]


def computing(runs: Sequence[Run]) -> float:
    """Return the seconds that the stages of runs took when they were computed, each stage once,
    whoever computed it.
    """
    took = {item.stage: item.seconds for run in runs for item in run.summary.run.stage_seconds}
    return sum(took.values())


def _initial(run: Run) -> list[Cost]:
    """Return what M0's own stages took, from their manifests; none if one has left the store."""
    costs: dict[str, Cost] = {}
    for stage in dict.fromkeys(asdict(run.models[0].stages).values()):
        try:
            manifest = run.manifest(stage)
        except UserError:
            return []
        name = stage.split("/")[0]
        before = costs.get(name, Cost("M0", name, 0.0, {}, None))
        peaks = highest(before.peaks, manifest.peak_memory)
        costs[name] = Cost("M0", name, before.seconds + manifest.seconds, peaks, None)
    return list(costs.values())


def _of_iterations(run: Run) -> Iterator[Cost]:
    for made in run.summary.iterations:
        for name, seconds in made.seconds.items():
            peaks = made.peak_memory.get(name, {})
            yield Cost(f"M{made.iteration}", name, seconds, peaks, made.usage.get(name))


def _table(run: Run, costs: list[Cost]) -> Table:
    small = SMALL * sum(item.seconds for item in costs)
    rows = [
        [
            f"{item.model}, {item.stage}",
            duration(item.seconds),
            memory_size(item.peaks.get("ram"), 2),
            memory_size(item.peaks.get("gpu"), 2),
            *_tokens(item.used),
        ]
        for item in costs
        if item.used or item.seconds >= small
    ]
    columns = ["", "time", "peak memory", "peak GPU memory", "tokens read", "of them cached",
               "tokens written", "tokens a second"]  # fmt: skip
    engine = run.summary.run.engine
    return Table(
        "Time, memory and tokens by stage",
        columns,
        rows,
        f"Engine: {engine.name} on {engine.device}, started "
        f"{count(engine.starts, 'time')}. Peak memory: the most that the run's processes "
        "held while the stage was computed, an engine that stayed loaded included; on GPUs, what "
        "PyTorch reserved in the run's own process. Tokens a second: read and written together. "
        "Stages below a hundredth of the time are left out unless they used tokens.",
    ).without_empty(DASH)


def _tokens(used: StageUsage | None) -> list[str]:
    if used is None:
        return [DASH] * 4
    read = (used.prompt_tokens, used.cached_prompt_tokens, used.generated_tokens)
    return [*map(count, read), number(used.tokens_per_second, 0)]
