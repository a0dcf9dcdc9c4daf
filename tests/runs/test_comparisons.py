"""The models of a run together: ratings only where comparisons lead to M0."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from iterdpo.records import Comparison
from iterdpo.runs.comparisons import comparison_entries, rating_entries


def compared(count: int, outcome: float | None) -> Any:
    records = [
        Comparison(f"c{n}", f"p{n}", f"a{n}", f"b{n}", "judge", outcome, outcome)
        for n in range(count)
    ]
    return SimpleNamespace(
        value=tuple(records), stage=SimpleNamespace(name="comparisons"), key="k" * 64
    )


def model(name: str, *comparisons: Any) -> Any:
    """Return what stands for a ``PolicyEvaluation``: as much of it as comparing looks at."""
    answers = [SimpleNamespace(id=f"{letter}{n}", token_ids=(1,) * 4) for letter in "ab"
               for n in range(20)]  # fmt: skip
    return SimpleNamespace(
        policy=SimpleNamespace(value=SimpleNamespace(name=name)),
        comparisons=comparisons,
        sampled=SimpleNamespace(value=answers),
    )


def test_ratings_start_at_m0_and_rise_with_wins() -> None:
    m0 = model("M0")
    m1 = model("M1", (m0, compared(20, 1.0)))
    m2 = model("M2", (m1, compared(20, 0.5)), (m0, compared(20, 1.0)))
    ratings = rating_entries([m0, m1, m2])
    assert [item["model"] for item in ratings] == ["M0", "M1", "M2"]
    assert ratings[0] == {"model": "M0", "rating": 0.0, "low": 0.0, "high": 0.0}
    assert ratings[1]["rating"] > 300
    assert ratings[1]["low"] > 0


def test_a_model_that_no_readable_comparison_leads_to_has_no_rating() -> None:
    m0 = model("M0")
    unread = model("M1", (m0, compared(20, None)))
    m2 = model("M2", (unread, compared(20, 1.0)), (m0, compared(20, None)))
    assert rating_entries([m0]) == []
    assert rating_entries([m0, unread]) == []
    assert rating_entries([m0, unread, m2]) == []
    m3 = model("M3", (m2, compared(20, None)), (m0, compared(20, 1.0)))
    assert [item["model"] for item in rating_entries([m0, unread, m2, m3])] == ["M0", "M3"]


def test_an_oracle_has_no_order_to_flip() -> None:
    m0 = model("M0")
    m1 = model("M1", (m0, compared(20, 1.0)))
    (exact,) = comparison_entries(m1, "oracle")
    (asked,) = comparison_entries(m1, "initial")
    assert (exact["flips"], asked["flips"]) == (None, 0)
    assert (asked["model"], asked["opponent"], asked["wins"], asked["prompts"]) == (
        "M1", "M0", 20, 20
    )  # fmt: skip
    assert asked["stage"] == f"comparisons/{'k' * 64}"
