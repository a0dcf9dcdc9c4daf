"""The tables in the paper's style, from a summary written out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from iterdpo.evaluation.gains import Gains
from iterdpo.evaluation.summary import Summary
from iterdpo.evaluation.table import markdown, table
from tests import summaries
from tests.summaries import estimate


@pytest.fixture
def summary() -> Summary:
    gains = Gains(estimate(0.5), estimate(0.5), estimate(-0.1))
    return summaries.summary(
        [summaries.model(0, 3.0), summaries.model(1, 3.5, gains)],
        comparisons=(summaries.comparison(),),
        temperature_baselines=(summaries.baseline(0.5, 3.4),),
    )


def cells(text: str, head: str) -> dict[str, list[str]]:
    """Return the rows of the table whose first line holds ``head``, by their first cell."""
    (block,) = [part for part in text.split("\n\n") if head in part.splitlines()[0]]
    rows = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in block.splitlines()]
    return {row[0]: row[1:] for row in rows[2:]}


def test_models_are_rows_and_the_best_is_bold(summary: Summary) -> None:
    text = markdown(summary)
    rows = [line for line in text.splitlines() if line.startswith(("| M0 |", "| **M1** |"))]
    assert rows[0] == ("| M0 | 3.00 ± 0.20 | – | – | – | 10 % | 4.00 ± 0.10 | – | – | 1,234.6 |")
    assert rows[1] == (
        "| **M1** | 3.50 ± 0.20 | +0.50 (+0.40 … +0.60) | +0.50 (+0.40 … +0.60) "
        "| −0.10 (−0.20 … +0.00) | 10 % | 4.00 ± 0.10 | 65.0 (55.0 … 75.0) | not estimable "
        "| 1,234.6 |"
    )
    assert text.endswith("\n\nBest: **M1**, a reason.\n")


def test_head_to_head_is_in_percent_of_what_could_be_read(summary: Summary) -> None:
    row = cells(markdown(summary), "win / tie / loss")["M1 against M0"]
    assert row == ["initial", "50.0 / 30.0 / 20.0", "65.0 (55.0 … 75.0)", "5", "2", "10", "1,200"]


def test_baselines_stand_below_the_models_that_met(summary: Summary) -> None:
    (met,) = summary.comparisons
    against = [
        replace(met, baseline=name, result=replace(met.result, win_rate=rate))
        for name, rate in (("temperature 0.4", estimate(0.45)), ("greedy", None))
    ]
    text = markdown(replace(summary, against_baselines=tuple(against)))
    rows = cells(text, "win / tie / loss")
    assert list(rows) == ["M1 against M0", "M1 against M0, temperature 0.4",
                          "M1 against M0, greedy"]  # fmt: skip
    assert [row[2] for row in rows.values()] == ["65.0 (55.0 … 75.0)", "45.0 (35.0 … 55.0)", "–"]


def test_judges_have_the_papers_five_measures(summary: Summary) -> None:
    rows = cells(markdown(summary), "pairwise accuracy")
    assert rows["M1"] == [
        "80.0 %", "50.0 %", "25.0 %", "0.400", "0.300", "70.0 %", "−0.05", "0.90", "97.5 %",
    ]  # fmt: skip
    assert rows["M0"][-2] == "–"


def test_best_of_and_baselines_have_tables_of_their_own(summary: Summary) -> None:
    text = markdown(summary)
    assert cells(text, "best of n")["M1"] == ["3.50 ± 0.10", "4.00 ± 0.10"]
    assert cells(text, "temperature")["**M0**"] == ["0.5", "3.40 ± 0.10", "7.0"]


def test_what_was_not_measured_has_no_table() -> None:
    text = markdown(summaries.summary([summaries.model(0, None), summaries.model(1, None)]))
    assert text.count("\n\n") == 1
    assert "| **M1** | – | – | – | – | – | – | – | – | 1,234.6 |" in text
    assert text.endswith("\n\nBest: **M1**, a reason.\n")


def test_a_comparison_without_any_readable_verdict_has_dashes(summary: Summary) -> None:
    (met,) = summary.comparisons
    nothing = replace(met.result, wins=0, ties=0, losses=0, win_rate=None, prompts_needed=None,
                      flips=None)  # fmt: skip
    text = markdown(replace(summary, comparisons=(replace(met, result=nothing),)))
    row = cells(text, "win / tie / loss")["M1 against M0"]
    assert row == ["initial", "–", "–", "–", "2", "10", "–"]


def test_a_bar_in_a_cell_opens_no_column() -> None:
    assert table(["a|b"], [["c|d"]]).splitlines() == ["| a\\|b |", "| :-- |", "| c\\|d |"]
