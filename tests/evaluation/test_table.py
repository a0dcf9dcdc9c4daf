"""The tables in the paper's style, from a summary written out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from iterdpo.evaluation.table import comparison, markdown, number, share, spread, table, win_rate


def estimate(mean: float, half: float | None = 0.1) -> dict[str, float | int | None]:
    low, high = (None, None) if half is None else (mean - half, mean + half)
    return {"mean": mean, "low": low, "high": high, "n": 40, "clusters": 10}


def judge(accuracy: float | None, agreement: float | None) -> dict[str, Any]:
    measures = {"five_best": 0.5, "exact_match": 0.25, "spearman": 0.4, "kendall_tau": 0.3}
    return {
        "fixed_set": {"pairwise_accuracy": accuracy, **measures},
        "own_answers": {"pairwise_accuracy": 0.7},
        "length_correlation": -0.05,
        "agreement_with_previous": agreement,
        "parse_rate": 1.0,
    }


def model(name: str, mean: float, gain: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "name": name,
        "quality": {
            "mean": mean, "ci95": [mean - 0.2, mean + 0.2], "perfect": 5.0, "perfect_share": 0.1,
            "greedy_mean": 4.0, "greedy_ci95": [3.9, 4.1], "n": 40,
        },
        "gain": gain,
        "judge": judge(0.8, 0.9 if gain else None),
        "best_of": [{"n": 1, "quality": estimate(mean)}, {"n": 2, "quality": estimate(mean + 0.5)}],
        "response_tokens": 1234.56,
    }  # fmt: skip


@pytest.fixture
def summary() -> dict[str, Any]:
    gain = {"over_previous": estimate(0.5), "over_initial": estimate(0.5),
            "over_control": estimate(-0.1)}  # fmt: skip
    return {
        "models": [model("M0", 3.0, None), model("M1", 3.5, gain)],
        "comparisons": [
            {
                "model": "M1", "opponent": "M0", "judge": "initial", "prompts": 10, "wins": 20,
                "ties": 12, "losses": 8, "flips": 5, "unscored": 2, "win_rate": estimate(0.65),
                "length_controlled": None, "prompts_needed": 1200,
            }
        ],
        "controls": [
            {"model": "M0", "temperature": 0.5, "quality": estimate(3.4),
             "strongest": True,
             "response_tokens": 7.0}
        ],
        "best": {"model": "M1", "why": "a reason", "by": "oracle"},
    }  # fmt: skip


def cells(text: str, head: str) -> dict[str, list[str]]:
    """Return the rows of the table whose first line holds ``head``, by their first cell."""
    (block,) = [part for part in text.split("\n\n") if head in part.splitlines()[0]]
    rows = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in block.splitlines()]
    return {row[0]: row[1:] for row in rows[2:]}


def test_models_are_rows_and_the_best_is_bold(summary: dict[str, Any]) -> None:
    text = markdown(summary)
    rows = [line for line in text.splitlines() if line.startswith(("| M0 |", "| **M1** |"))]
    assert rows[0] == ("| M0 | 3.00 ± 0.20 | – | – | – | 10 % | 4.00 ± 0.10 | – | – | 1,234.6 |")
    assert rows[1] == (
        "| **M1** | 3.50 ± 0.20 | +0.50 (+0.40 … +0.60) | +0.50 (+0.40 … +0.60) "
        "| -0.10 (-0.20 … +0.00) | 10 % | 4.00 ± 0.10 | 65.0 (55.0 … 75.0) | – | 1,234.6 |"
    )
    assert text.endswith("\n\nBest: **M1**, a reason.\n")


def test_head_to_head_is_in_percent_of_what_could_be_read(summary: dict[str, Any]) -> None:
    row = cells(markdown(summary), "win / tie / loss")["M1 against M0"]
    assert row == ["initial", "50.0 / 30.0 / 20.0", "65.0 (55.0 … 75.0)", "5", "2", "10", "1,200"]


def test_controls_stand_below_the_models_that_met(summary: dict[str, Any]) -> None:
    (met,) = summary["comparisons"]
    summary["against_controls"] = [
        met | {"control": "temperature 0.4", "win_rate": estimate(0.45)},
        met | {"control": "greedy", "win_rate": None},
    ]
    rows = cells(markdown(summary), "win / tie / loss")
    assert list(rows) == ["M1 against M0", "M1 against M0, temperature 0.4",
                          "M1 against M0, greedy"]  # fmt: skip
    assert [row[2] for row in rows.values()] == ["65.0 (55.0 … 75.0)", "45.0 (35.0 … 55.0)", "–"]


def test_judges_have_the_papers_five_measures(summary: dict[str, Any]) -> None:
    rows = cells(markdown(summary), "pairwise accuracy")
    assert rows["M1"] == [
        "80.0 %", "50.0 %", "25.0 %", "0.400", "0.300", "70.0 %", "-0.05", "0.90", "100.0 %",
    ]  # fmt: skip
    assert rows["M0"][-2] == "–"


def test_best_of_and_controls_have_tables_of_their_own(summary: dict[str, Any]) -> None:
    text = markdown(summary)
    assert cells(text, "best of n")["M1"] == ["3.50 ± 0.10", "4.00 ± 0.10"]
    assert cells(text, "temperature")["**M0**"] == ["0.5", "3.40 ± 0.10", "7.0"]


def test_what_was_not_measured_has_no_table(summary: dict[str, Any]) -> None:
    for entry in summary["models"]:
        entry["quality"] = entry["gain"] = entry["best_of"] = None
        entry["judge"]["fixed_set"] = dict.fromkeys(entry["judge"]["fixed_set"])
    summary["comparisons"], summary["controls"], summary["best"] = [], [], None
    text = markdown(summary)
    assert text.count("\n\n") == 0
    assert "| M1 | – | – | – | – | – | – | – | – | 1,234.6 |" in text


def test_a_comparison_without_any_readable_verdict_has_dashes(summary: dict[str, Any]) -> None:
    summary["comparisons"][0] |= {"wins": 0, "ties": 0, "losses": 0, "win_rate": None,
                                  "prompts_needed": None, "flips": None}  # fmt: skip
    row = cells(markdown(summary), "win / tie / loss")["M1 against M0"]
    assert row == ["initial", "–", "–", "–", "2", "10", "–"]


def test_a_bar_in_a_cell_opens_no_column() -> None:
    assert table(["a|b"], [["c|d"]]).splitlines() == ["| a\\|b |", "| :-- |", "| c\\|d |"]


def test_numbers_and_intervals() -> None:
    assert (number(None), number(1234.5, 1), share(0.125, 1)) == ("–", "1,234.5", "12.5 %")
    assert spread(3.0, None, None) == "3.00"
    assert spread(0.5, 0.25, 0.75, signed=True) == "+0.50 ± 0.25"
    assert win_rate(estimate(0.5, None)) == "50.0"
    assert comparison({"comparisons": []}, "M1", "M0") is None
