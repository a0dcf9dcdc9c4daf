"""What comparisons came to, as stages: ratings only where comparisons lead to M0."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from iterdpo.evaluation.ratings import Rating
from iterdpo.records import Comparison
from iterdpo.stages.head_to_head import CountComparisons, Rate
from iterdpo.store.stage import Work


def compared(count: int, outcome: float | None) -> Any:
    records = [
        Comparison(f"c{n}", f"p{n}", f"a{n}", f"b{n}", "judge", outcome, outcome)
        for n in range(count)
    ]
    return SimpleNamespace(value=tuple(records))


def model(name: str) -> Any:
    return SimpleNamespace(value=SimpleNamespace(name=name))


M0, M1, M2, M3 = (model(f"M{number}") for number in range(4))


def rated(place: Path, *matches: Any) -> tuple[Rating, ...]:
    place.mkdir(exist_ok=True)
    Rate().compute(Work(place, place / "kept", "k"), M0, matches)
    return Rate().load(place)


def test_ratings_start_at_m0_and_rise_with_wins(tmp_path: Path) -> None:
    ratings = rated(
        tmp_path, (M1, M0, compared(20, 1.0)), (M2, M1, compared(20, 0.5)),
        (M2, M0, compared(20, 1.0)),
    )  # fmt: skip
    assert [item.model for item in ratings] == ["M0", "M1", "M2"]
    assert ratings[0] == Rating("M0", 0.0, 0.0, 0.0)
    assert ratings[1].rating > 300
    assert ratings[1].low is not None
    assert ratings[1].low > 0


def test_a_model_that_no_readable_comparison_leads_to_has_no_rating(tmp_path: Path) -> None:
    unread = (M1, M0, compared(20, None))
    beside = ((M2, M1, compared(20, 1.0)), (M2, M0, compared(20, None)))
    assert rated(tmp_path, unread) == ()
    assert rated(tmp_path, unread, *beside) == ()
    last = ((M3, M2, compared(20, None)), (M3, M0, compared(20, 1.0)))
    assert [item.model for item in rated(tmp_path, unread, *beside, *last)] == ["M0", "M3"]


def test_an_oracle_has_no_order_to_flip(tmp_path: Path) -> None:
    answers = [SimpleNamespace(id=f"{letter}{n}", token_ids=(1,) * 4) for letter in "ab"
               for n in range(20)]  # fmt: skip
    stored: Any = SimpleNamespace(value=answers)
    work = Work(tmp_path, tmp_path / "kept", "k")
    flips = []
    for ordered in (False, True):
        stage = CountComparisons(ordered)
        metrics = stage.compute(work, compared(20, 1.0), stored, stored)
        assert metrics == {"wins": 20, "ties": 0, "losses": 0}
        flips.append(stage.load(tmp_path).flips)
    assert flips == [None, 0]
    assert CountComparisons(False).settings != CountComparisons(True).settings
