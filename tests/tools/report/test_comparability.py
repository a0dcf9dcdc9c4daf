"""Whether a comparison of runs says that they were measured by different judges."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from iterdpo.evaluation.summary_file import read_summary, write_summary
from iterdpo.records import Comparison
from iterdpo.runs.directory import Run
from iterdpo.store.tables import write_records
from iterdpo.tools.report.comparability import unlike
from iterdpo.tools.report.measures import AGAINST_M0, QUALITY
from iterdpo.tools.report.write import write
from tests import summaries
from tests.tools.report.made_runs import MadeRun
from tests.tools.report.reading import read

BY_M0 = ("evaluation.oracle=null", "evaluation.arbiter=initial")


def judged(
    place: Path, name: str, overrides: list[str], rubric: str = "r", start: str | None = None
) -> Run:
    """Write a run that only its head-to-heads measure, and open it."""
    made = MadeRun(place / "s" / name, place / f"store-{name}", [*BY_M0, *overrides],
                   scores=[{}, {}])  # fmt: skip
    made.write()
    stage = made.stage("comparisons", [name, overrides, rubric],
                       {"arbiter": "pairwise", "rubric": rubric})  # fmt: skip
    write_records(
        stage / "records.parquet", Comparison,
        [Comparison(f"c{i}", f"p{i}", "a", "b", "j", 0.9, 0.2 + 0.6 * (i % 2)) for i in range(4)],
    )  # fmt: skip
    summary = read_summary(made.directory)
    first, *later = summary.models
    first = replace(first, fingerprint=start or first.fingerprint)
    met = summaries.comparison(stage=f"comparisons/{stage.name}")
    write_summary(replace(summary, models=(first, *later), comparisons=(met,)), made.directory)
    return Run.open(made.directory)


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["evaluation.arbiter=external", "evaluation.arbiter_model=here"], "evaluation.arbiter"),
        (["evaluation.arbiter_rubric=/my.jinja"], "evaluation.arbiter_rubric"),
        (["evaluation.arbiter_min_mass=0.25"], "evaluation.arbiter_min_mass"),
        (["judge.system=hello"], "judge.system"),
    ],
)
def test_the_setting_of_the_judge_that_differs_is_named(
    tmp_path: Path, overrides: list[str], named: str
) -> None:
    runs = [judged(tmp_path, "0", []), judged(tmp_path, "1", overrides)]
    (said,) = unlike(AGAINST_M0, runs)
    assert said.startswith("Not comparable: the judge of the head-to-heads is not the same")
    assert f"({named})" in said


def test_another_text_in_the_same_rubric_file_is_another_judge(tmp_path: Path) -> None:
    runs = [judged(tmp_path, "0", [], "r"), judged(tmp_path, "1", ["training.beta=0.2"], "s")]
    (said,) = unlike(AGAINST_M0, runs)
    assert "(the arbiter's rubric)" in said


def test_what_the_judge_does_not_read_is_no_difference(tmp_path: Path) -> None:
    runs = [judged(tmp_path, "0", ["seed=0"]),
            judged(tmp_path, "1", ["training.beta=0.2", "evaluation.arbiter_model=unread",
                                   "judge.min_mass=0.3"])]  # fmt: skip
    assert unlike(AGAINST_M0, runs) == []


def test_an_m0_for_each_seed_is_one_start_and_two_in_a_seed_are_not(tmp_path: Path) -> None:
    first = judged(tmp_path, "0", ["seed=0"], start="a" * 16)
    other_seed = judged(tmp_path, "1", ["seed=1"], start="b" * 16)
    assert unlike(AGAINST_M0, [first, other_seed]) == []
    same_seed = judged(tmp_path, "2", ["seed=0", "training.beta=0.2"], start="c" * 16)
    (said,) = unlike(AGAINST_M0, [first, other_seed, same_seed])
    assert "start from different models" in said


def test_the_oracle_is_one_judge_whatever_compares_and_sampling_counts(tmp_path: Path) -> None:
    overrides = (["evaluation.arbiter=initial"], ["evaluation.arbiter=oracle"],
                 ["candidates.temperature=0.5"])  # fmt: skip
    runs = [
        Run.open(MadeRun(tmp_path / str(i), tmp_path / f"store-{i}", some).write())
        for i, some in enumerate(overrides)
    ]
    assert unlike(QUALITY, runs[:2]) == []
    (said,) = unlike(QUALITY, runs)
    assert "sampled differently (candidates.temperature)" in said


def test_the_page_says_so_before_it_names_a_best(tmp_path: Path) -> None:
    judged(tmp_path, "0", ["training.beta=0.1"])
    judged(tmp_path, "1", ["training.beta=0.2", "evaluation.arbiter_min_mass=0.25"])
    text = read(write([tmp_path / "s"])).text
    before, _, after = text.partition("is best: win rate against M0")
    assert after
    assert "Not comparable: the judge of the head-to-heads is not the same in all runs " in before
