from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from experiments import bench, pool_seeds
from experiments.page import replaced
from iterdpo.evaluation.summary_file import read_summary, write_summary
from tests import summaries


def write_run(place: Path, seed: int, scores: list[dict[str, list[float]]]) -> None:
    """Write the summary that a run leaves."""
    models = [
        summaries.model(number, measured=summaries.evaluation(3.0, by_prompt))
        for number, by_prompt in enumerate(scores)
    ]
    iterations = []
    for number in range(1, len(scores)):
        made = summaries.iteration(number)
        iterations.append(replace(made, pairs=replace(made.pairs, kept=1000 + seed)))
    summary = summaries.summary(models, iterations=tuple(iterations))
    place.mkdir()
    write_summary(replace(summary, run=replace(summary.run, seed=seed)), place)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    write_run(tmp_path / "0", 0, [{"a": [1, 3], "b": [4, 4]}, {"a": [3, 5], "b": [5, 5]}])
    write_run(tmp_path / "1", 1, [{"a": [2, 2], "c": [5, 1]}, {"a": [3, 3], "c": [5, 5]}])
    return tmp_path


def test_the_pooled_figures_are_those_of_arithmetic(runs: Path) -> None:
    result = pool_seeds.pool([read_summary(runs / name) for name in ("0", "1")])
    first, last = result["models"]
    assert first["quality"].mean == pytest.approx((1 + 3 + 4 + 4 + 2 + 2 + 5 + 1) / 8)
    assert last["quality"].mean == pytest.approx((3 + 5 + 5 + 5 + 3 + 3 + 5 + 5) / 8)
    # Paired by run and prompt: +2, +1, +1, +2; a of both runs is one cluster.
    (step,) = result["steps"]
    assert step.mean == pytest.approx(1.5)
    assert (step.n, step.clusters) == (4, 3)
    assert result["gap_closed"] == pytest.approx((4.25 - 2.75) / (5 - 2.75))
    assert last["pairs"] == pytest.approx(1000.5)


def test_the_table_has_a_row_a_model(runs: Path) -> None:
    text = pool_seeds.markdown(pool_seeds.pool([read_summary(runs / name) for name in ("0", "1")]))
    rows = [line for line in text.splitlines() if line.startswith("| M")]
    assert [row.split("|")[1].strip() for row in rows] == ["M0", "M1"]
    assert "+1.500" in rows[1]
    assert "67 % of the gap" in text


def test_the_benchmark_replaces_its_own_part_of_the_page_only() -> None:
    page = f"# Title\n{bench.BEGIN}\nold\n{bench.END}\nrest\n"
    made = replaced(page, "new", bench.BEGIN, bench.END)
    assert made == f"# Title\n{bench.BEGIN}\nnew\n{bench.END}\nrest\n"
