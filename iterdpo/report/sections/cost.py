"""Where the time and the tokens went."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from iterdpo.errors import UserError
from iterdpo.report import charts
from iterdpo.report.document import Part, Section, Table
from iterdpo.report.figures import DASH, count, duration, number
from iterdpo.runs import Run

STAGES = {
    "base": "var(--drop-4)", "sft": "var(--drop-3)", "prompts": "var(--faint)",
    "candidates": "var(--series-1)", "judgments": "var(--series-2)", "pairs": "var(--drop-1)",
    "adapter": "var(--series-3)", "answers": "var(--cost-1)", "answer_judgments": "var(--cost-2)",
    "comparisons": "var(--cost-3)", "evaluation": "var(--series-4)",
}  # fmt: skip


def cost(run: Run) -> Section:
    """Return the section on time and tokens."""
    rows = [*_seconds(run)]
    colors = STAGES | {
        str(row["stage"]): "var(--faint)" for row in rows if row["stage"] not in STAGES
    }
    parts: list[Part] = [
        charts.stacked(
            "seconds", "Time by stage",
            "Seconds that each stage took when it was computed. A stage that this run read from "
            "the store took no time here and shows what it once took.",
            rows, y="iteration", x="seconds", x_title="seconds", series="stage", colors=colors,
        )
    ] if rows else []  # fmt: skip
    return Section("cost", "Time and tokens", [*parts, *_usage(run)])


def _seconds(run: Run) -> Iterator[dict[str, Any]]:
    yield from (
        {"iteration": "M0", "stage": stage, "seconds": round(seconds, 3)}
        for stage, seconds in _initial(run).items()
    )
    for entry in run.summary["iterations"]:
        for stage, seconds in entry["seconds"].items():
            yield {"iteration": f"M{entry['iteration']}", "stage": stage, "seconds": seconds}


def _initial(run: Run) -> Mapping[str, float]:
    """Return the seconds of M0's own stages, from their manifests; those left are skipped."""
    total: dict[str, float] = {}
    for stage in dict.fromkeys(run.models[0]["stages"].values()):
        if not isinstance(stage, str):
            continue
        try:
            seconds = run.manifest(stage).seconds
        except UserError:
            return {}
        name = stage.split("/")[0]
        total[name] = total.get(name, 0.0) + seconds
    return total


def _usage(run: Run) -> Iterator[Part]:
    rows = []
    for entry in run.summary["iterations"]:
        for stage, used in (entry.get("usage") or {}).items():
            if used:
                rows.append(
                    [
                        f"M{entry['iteration']}, {stage}",
                        duration(entry["seconds"].get(stage)),
                        *(
                            DASH if used.get(key) is None else f"{used[key]:,}"
                            for key in ("prompt_tokens", "cached_prompt_tokens",
                                        "generated_tokens")
                        ),
                        number(used.get("tokens_per_second"), 0),
                        _memory(used),
                    ]
                )  # fmt: skip
    if not rows:
        return
    columns = ["", "time", "tokens read", "of them cached", "tokens written", "tokens a second",
               "peak memory"]  # fmt: skip
    engine = run.summary["run"]["engine"]
    yield Table(
        "Tokens",
        columns,
        rows,
        f"Engine: {engine.get('engine')} on {engine.get('device')}, started "
        f"{count(engine.get('starts'), 'time')}. Tokens a second: read and written together.",
    ).without_empty(DASH)


def _memory(used: Mapping[str, Any]) -> str:
    found = next((used[key] for key in used if "memory" in key and used[key] is not None), None)
    return DASH if found is None else f"{found / 2**30:,.1f} GiB"
