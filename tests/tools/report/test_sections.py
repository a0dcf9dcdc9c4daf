"""Sections from what a summary holds."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from iterdpo.errors import UserError
from iterdpo.evaluation.best import Best
from iterdpo.evaluation.gains import Gains
from iterdpo.evaluation.judge_errors import Correction
from iterdpo.evaluation.ratings import Rating
from iterdpo.evaluation.statistics import Estimate
from iterdpo.evaluation.summary import ComparisonSummary
from iterdpo.evaluation.summary_file import read_summary, write_summary
from iterdpo.runs.corrections import CorrectedComparison
from iterdpo.runs.directory import Run
from iterdpo.tools.report.comparison_page import document as compared
from iterdpo.tools.report.document import Cell, Chart, Document, Table, Text
from iterdpo.tools.report.run_page import document
from iterdpo.tools.report.sections.data_generation import BINS, histogram
from tests import summaries
from tests.narrowing import present
from tests.tools.report.made_runs import MadeRun, Planted

PAIRS = [Planted("name two tools", "axe saw", "saw"), Planted("name two drinks", "ale tea", "tea")]


def around(mean: float, low: float, high: float) -> Estimate:
    return Estimate(mean, low, high, 40, 40)


def met(model: str, opponent: str, rate: Estimate, **changes: Any) -> ComparisonSummary:
    return summaries.comparison(model, opponent, rate, **({"judge": "oracle"} | changes))


COMPARISONS = (
    met("M1", "M0", around(0.6, 0.55, 0.65)), met("M2", "M1", around(0.52, 0.45, 0.59)),
)  # fmt: skip
MORE = {
    "comparisons": COMPARISONS,
    "against_baselines": (
        met("M2", "M0", around(0.4, 0.3, 0.5), baseline="temperature 0.4"),
        met("M2", "M0", around(0.7, 0.6, 0.8), baseline="greedy"),
    ),
    "ratings": (Rating("M0", 0.0, 0.0, 0.0), Rating("M1", 70.0, 35.0, 107.0)),
    "temperature_baselines": (summaries.baseline(0.5, 3.5),),
    "best": Best("M2", "the highest quality by the oracle, 4.50", "oracle"),
}
GAINS = (
    None,
    Gains(around(1.0, 0.5, 1.5), around(1.0, 0.5, 1.5), around(-0.5, -0.75, -0.25)),
    Gains(around(0.1, -0.1, 0.3), around(2.0, 1.5, 2.5), around(1.0, 0.5, 1.5)),
)


def shown(cell: str | Cell) -> tuple[str, str]:
    assert isinstance(cell, Cell)
    return cell.text, cell.note


@pytest.fixture
def made(tmp_path: Path) -> Document:
    scores = [{"p": [3.0], "q": [2.0]}, {"p": [4.0], "q": [3.0]}, {"p": [4.5], "q": [4.5]}]
    place = MadeRun(tmp_path / "run", tmp_path / "store", [], [PAIRS, PAIRS], scores, MORE).write()
    summary = read_summary(place)
    models = tuple(
        replace(model, gains=gains) for model, gains in zip(summary.models, GAINS, strict=True)
    )
    first, last = summary.iterations
    iterations = (first, replace(last, training=None))
    write_summary(replace(summary, models=models, iterations=iterations), place)
    return document(Run.open(place))


def table(page: Document, title: str) -> Table:
    return next(part for section in page.sections for part in section.parts
                if isinstance(part, Table) and part.title == title)  # fmt: skip


def test_win_rates_that_people_correct_are_shown_and_those_of_another_run_are_not(
    tmp_path: Path,
) -> None:
    more = {"comparisons": COMPARISONS[:1]}
    scores = [{"p": [3.0]}, {"p": [4.0]}]
    place = MadeRun(tmp_path / "run", tmp_path / "store", [], [PAIRS], scores, more).write()
    right, unknown = around(0.8, 0.7, 0.9), around(0.5, 0.25, 0.75)
    known = Correction(around(0.6, 0.5, 0.7), right, right, around(0.65, 0.5, 0.8))
    rows = [
        CorrectedComparison("M1", "M0", "oracle", "comparisons/1", known),
        CorrectedComparison("M2", "M0", "initial", "comparisons/1", replace(known, corrected=None)),
        CorrectedComparison(
            "M3", "M0", "initial", "comparisons/gone", replace(known, judged=unknown)
        ),
    ]
    file = place / "label-models.result.json"
    file.write_text(json.dumps({"corrected": [asdict(row) for row in rows]}))
    (place / "older.result.json").write_text("{}")
    made = table(document(Run.open(place)), "Corrected by people's labels").rows
    assert [row[:3] for row in made] == [["M1 – M0", "the oracle", "40"], ["M2 – M0", "M0", "40"]]
    assert shown(made[0][-1]) == ("65 %", "50 … 80 %")
    assert shown(made[1][-1])[0] == "not estimable"
    for broken in ("[", "[]", json.dumps({"corrected": [{"model": 1}]})):
        file.write_text(broken)
        with pytest.raises(UserError, match="is no label result of this version"):
            document(Run.open(place))


def chart(page: Document, name: str) -> Chart:
    return next(found for found in page.charts if found.name == name)


def texts(row: object) -> list[str]:
    assert isinstance(row, list)
    return [cell.text if isinstance(cell, Cell) else cell for cell in row]


@pytest.mark.parametrize(("place", "title"), [("beta/3", "beta/3"), ("sweep/a_run", "a_run")])
def test_a_job_of_a_sweep_is_called_by_more_than_its_number(
    tmp_path: Path, place: str, title: str
) -> None:
    scores = [{"p": [3.0]}, {"p": [4.0]}]
    made = MadeRun(tmp_path / place, tmp_path / "store", [], [PAIRS], scores).write()
    assert document(Run.open(made)).title == title


def test_the_verdict_names_the_best_model_and_its_gain(made: Document) -> None:
    assert made.verdict == (
        "M2 is the best model: the highest quality by the oracle, 4.50. Its gain over M0 is +2.00 "
        "(+1.50 … +2.50), over M0 at temperature 0.5 +1.00 (+0.50 … +1.50)."
    )


def test_what_the_loop_gives_beyond_a_lower_temperature_is_said_first(made: Document) -> None:
    (section,) = (section for section in made.sections if section.id == "baselines")
    said = section.parts[0]
    assert isinstance(said, Text)
    assert said.text == (
        "Beyond sharpening, against M0 at temperature 0.5, the strongest baseline: M1 is worse, "
        "−0.50 (−0.75 … −0.25); M2 is better, +1.00 (+0.50 … +1.50). Differences of quality, "
        "paired by prompt."
    )
    (fact,) = (fact for fact in made.facts if fact.name == "gain over M0 at temperature 0.5")
    assert fact.value == "+1.00"
    models = table(made, "The models")
    place = list(models.columns).index("over baseline")
    assert [texts(row)[place] for row in models.rows] == ["–", "−0.500", "+1.000"]


def test_win_rates_are_turned_around_for_the_other_side(made: Document) -> None:
    rows = table(made, "Win rates, judged by the oracle").rows
    assert [texts(row) for row in rows] == [
        ["M0", "–", "40 %", "–"],
        ["M1", "60 %", "–", "48 %"],
        ["M2", "–", "52 %", "–"],
    ]
    cell = rows[0][2]
    assert isinstance(cell, Cell)
    assert cell.note == "35 … 45 %"
    marks = {cell.mark for row in rows for cell in row if isinstance(cell, Cell)}
    assert marks == {"wins-clearly", "loses-clearly", "wins", "loses"}


def test_models_meet_m0_as_sharp_in_a_table_of_its_own(made: Document) -> None:
    rows = table(made, "More than sharpening? Judged by the oracle").rows
    found = [(texts(row)[0], texts(row)[4]) for row in rows]
    assert found == [("M2 – M0, temperature 0.4", "40 %"), ("M2 – M0, greedy", "70 %")]
    assert len(table(made, "Every comparison, judged by the oracle").rows) == 2


def test_a_gain_is_colored_only_where_its_interval_is_clear_of_zero(made: Document) -> None:
    gains = table(made, "The models").rows[2][2:4]
    assert [cell.mark for cell in gains if isinstance(cell, Cell)] == ["", "up"]


def test_baselines_hold_all_that_could_be_had_without_learning(made: Document) -> None:
    rows = chart(made, "baselines").rows
    assert [row["what"] for row in rows][:4] == [
        "M0 sampled", "M0 best of 2", "M0 greedy", "M0 at temperature 0.5",
    ]  # fmt: skip


def test_dropped_pairs_are_counted_by_reason(made: Document) -> None:
    assert [(row["outcome"], row["pairs"]) for row in chart(made, "outcomes").rows[:3]] == [
        ("kept", 2), ("tie", 3), ("margin", 1),
    ]  # fmt: skip


def test_an_iteration_that_trained_nothing_is_said(made: Document) -> None:
    assert texts(table(made, "Run-time checks").rows[1])[:2] == [
        "M2",
        "no pair left: the policy stayed",
    ]


def test_what_is_said_of_a_judge_has_its_interval(made: Document) -> None:
    parts = [part for section in made.sections for part in section.parts]
    (chart,) = (part for part in parts if isinstance(part, Chart) and part.name == "judge")
    tables = {part.title: part for part in parts if isinstance(part, Table)}
    fixed, own = chart.rows[:2]
    assert (fixed["mean"], fixed["low"], fixed["high"]) == (0.8, 0.75, 0.85)
    assert (own["mean"], own["low"], own["high"]) == (0.7, None, None)
    rows = {row[0]: row[1] for row in tables["The models as judges"].rows}
    said = {name: shown(cell) for name, cell in rows.items()}
    assert said["pairwise accuracy, reference set"] == ("0.800", "0.750 … 0.850")
    assert said["Spearman ρ, reference set"] == ("0.400", "−0.100 … 0.900")
    assert said["pairwise accuracy, own answers"] == ("0.700", "")
    assert said["readable judgments"] == ("97.5 %", "95.0 … 99.0 %")
    assert said["score of its own answers"] == ("3.00", "2.50 … 3.50")
    assert said["score with length (ρ)"] == ("−0.05", "−0.10 … +0.00")
    assert said["5-best, reference set"] == ("0.500", "")
    labels = tables["What the iterations made"].rows[0][7]
    assert shown(labels) == ("90.0 %", "80.0 … 95.0 %")
    (fact,) = (fact for fact in made.facts if fact.name == "labels right")
    assert fact.note == "80 … 95 %, for M2"


def test_every_stage_that_cost_something_has_its_time_and_memory(made: Document) -> None:
    """M0's stages are those of its manifests, which hold no memory here."""
    (table,) = (
        part
        for section in made.sections
        for part in section.parts
        if isinstance(part, Table) and part.title.startswith("Time, memory")
    )
    assert table.columns[:5] == ["", "time", "peak memory", "peak GPU memory", "tokens read"]
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["M0, evaluation"][:2] == ["1.5 s", "–"]
    assert rows["M1, candidates"][:4] == ["1.0 s", "1.50 GiB", "–", "10"]
    assert rows["M1, judgments"][:4] == ["2.0 s", "–", "–", "0"]
    assert rows["M2, adapter"][:4] == ["3.0 s", "2.00 GiB", "1.25 GiB", "–"]
    assert "M1, pairs" not in rows  # 0.01 of 15.02 s


def test_small_stages_share_a_color(made: Document) -> None:
    rows = [row for row in chart(made, "seconds").rows if row["iteration"] == "M1"]
    assert {row["stage"]: row["seconds"] for row in rows} == {
        "candidates": 1.0, "judgments": 2.0, "adapter": 3.0, "others": 0.01
    }  # fmt: skip


def test_columns_that_nothing_was_measured_for_are_left_out() -> None:
    full = Table("t", ["", "a", "b", "c"], [["x", "–", "1", "text"], ["y", "–", "–", "text"]],
                 texts=(3,))  # fmt: skip
    less = full.without_empty("–")
    assert less.columns == ["", "b", "c"]
    assert less.rows == [["x", "1", "text"], ["y", "–", "text"]]
    assert less.texts == [2]


def test_a_histogram_counts_every_value_once_and_its_ends_in_the_outer_bins() -> None:
    rows = [*histogram([0.0, 0.24, 0.25, 4.99, 5.0], 0, 5, "M1")]
    assert len(rows) == BINS + 1
    assert [row["answers"] for row in rows if row["answers"]] == [2, 1, 2]
    assert rows[0]["share"] == 0.4
    assert rows[BINS - 1]["answers"] == 2
    assert sum(row["share"] for row in rows) == pytest.approx(1)


def test_a_histogram_of_nothing_or_of_one_value_is_no_error() -> None:
    assert sum(row["answers"] for row in histogram([], 0, 5, "M1")) == 0
    assert sum(row["answers"] for row in histogram([2.0, 2.0], 2, 2, "M1")) == 2


@pytest.mark.parametrize(("method", "unit"), [("dpo", "nats an answer"), ("orpo", "nats a token")])
def test_log_probs_are_drawn_in_the_unit_that_they_were_logged_in(
    made: Document, tmp_path: Path, method: str, unit: str
) -> None:
    run = Run.open(tmp_path / "run")
    adapter = run.directory_of(present(run.summary.iterations[0].stages.adapter))
    report = json.loads((adapter / "training.json").read_text())
    for row in report["history"]:
        row["logps/chosen"] = -1.0
    (adapter / "training.json").write_text(json.dumps(report))
    values = {**run.values, "training": {**run.values["training"], "method": method}}
    page = document(Run(run.directory, values, run.summary))
    assert unit in json.dumps(chart(page, "training-logps-chosen").spec)


@pytest.mark.parametrize(
    ("comparisons", "said"),
    [((), "nothing in this run tells the two apart"),
     (COMPARISONS, "the head-to-head comparisons are the better measure")],
)  # fmt: skip
def test_without_an_oracle_the_page_names_a_better_measure_only_where_there_is_one(
    tmp_path: Path, comparisons: list[dict[str, Any]], said: str
) -> None:
    place = MadeRun(tmp_path / "run", tmp_path / "store", ["evaluation=judge"], [PAIRS], [{}, {}],
                    {"comparisons": comparisons}).write()  # fmt: skip
    (section,) = [s for s in document(Run.open(place)).sections if s.id == "quality"]
    (text,) = [part.text for part in section.parts if isinstance(part, Text)]
    assert said in text


def test_computing_is_what_the_stages_took_and_not_the_last_start(made: Document) -> None:
    (fact,) = [fact for fact in made.facts if fact.name == "computing"]
    assert (fact.value, fact.note) == ("1 min 35 s", "2 iterations; last start 4.0 s")  # 30 + 65


def test_runs_beside_each_other_count_a_shared_stage_once_in_all(tmp_path: Path) -> None:
    scores = [{"p": [3.0], "q": [2.0]}, {"p": [4.0], "q": [3.0]}]
    places = [
        MadeRun(tmp_path / str(seed), tmp_path / "store", [f"seed={seed}"], scores=scores).write()
        for seed in (0, 1)
    ]
    page = compared([Run.open(place) for place in places], "both")
    (fact,) = [fact for fact in page.facts if fact.name == "computing"]
    assert fact.value == "2 min 40 s"  # 30 of the base that both use, and 65 of each
    (table,) = [
        part
        for section in page.sections
        for part in section.parts
        if isinstance(part, Table) and part.title == "What differs"
    ]
    assert table.columns[-1] == "computing"
    assert [row[-1] for row in table.rows] == ["1 min 35 s"] * 2
