"""What people chose, unblinded: win rates, agreement, labels, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iterdpo.errors import UserError
from iterdpo.evaluation.resampling import win_rate_ci
from iterdpo.tools.label.annotations import check_annotations, read_annotations
from iterdpo.tools.label.result import label_lines, result_of
from iterdpo.tools.label.show import estimate, lines_of
from iterdpo.tools.label.task import LabelTask
from tests.damage import damaged_json
from tests.tools.label.questions import exported, question, task_of


def saved(tmp_path: Path, *exports: Any) -> list[Path]:
    places = []
    for number, export in enumerate(exports):
        places.append(tmp_path / f"{number}.json")
        places[-1].write_text(json.dumps(export))
    return places


@pytest.fixture
def task() -> LabelTask:
    return task_of([question(n, first=f"g{n}", second=f"b{n}") for n in range(6)])


def test_the_win_rate_is_that_of_written_out_choices(tmp_path: Path, task: LabelTask) -> None:
    # Wins 3, ties 1, losses 1, and one skip: (3 + 0.5) / 5.
    chosen = {"00-good": 1, "01-good": 1, "02-good": 1, "03-good": 0.5, "04-good": 0,
              "05-good": None}  # fmt: skip
    result = result_of(task, read_annotations(saved(tmp_path, exported(task, "ann", chosen))))
    assert (result["wins"], result["ties"], result["losses"], result["skips"]) == (3, 1, 1, 1)
    assert result["preference"]["mean"] == pytest.approx(0.7)
    expected = win_rate_ci({n: [value] for n, value in enumerate((1, 1, 1, 0.5, 0))})
    assert result["preference"]["low"] == pytest.approx(expected.low)
    assert result["preference"]["clusters"] == 5
    assert result["median_seconds"] == 2.5
    assert result["between_people"] is None


def test_six_wins_of_six_leave_room_for_a_loss(tmp_path: Path, task: LabelTask) -> None:
    chosen = {f"{n:02}-good": 1 for n in range(6)}
    result = result_of(task, read_annotations(saved(tmp_path, exported(task, "ann", chosen))))
    assert result["preference"]["high"] == 1
    assert result["preference"]["low"] < 0.9


@given(st.integers(0, 2**20), st.lists(st.sampled_from([0, 0.5, 1]), min_size=1, max_size=8))
def test_no_shuffle_changes_what_was_meant(
    tmp_path_factory: pytest.TempPathFactory, seed: Any, wanted: Any
) -> None:
    task = task_of([question(n) for n in range(len(wanted))], seed=seed)
    chosen = {f"{n:02}-good": value for n, value in enumerate(wanted)}
    annotations = read_annotations(
        saved(tmp_path_factory.mktemp("m"), exported(task, "ann", chosen))
    )
    result = result_of(task, annotations)
    assert result["preference"]["mean"] == pytest.approx(sum(wanted) / len(wanted))


def test_several_people_are_clustered_by_prompt_and_compared(
    tmp_path: Path, task: LabelTask
) -> None:
    ann = exported(task, "ann", {"00-good": 1, "01-good": 0, "02-good": 1})
    bob = exported(task, "bob", {"00-good": 1, "01-good": 1})
    result = result_of(task, read_annotations(saved(tmp_path, ann, bob)))
    # The prompts' means are 1, 1/2 and 1.
    assert result["preference"]["mean"] == pytest.approx(2.5 / 3)
    assert (result["preference"]["n"], result["preference"]["clusters"]) == (5, 3)
    assert result["between_people"]["items"] == 2
    assert result["between_people"]["raw"] == 0.5
    assert result["annotators"] == {"ann": 3, "bob": 2}


def test_agreement_with_the_judge(tmp_path: Path) -> None:
    scores = [(4, 1), (5, 2), (1, 3), (2, 2), (None, 3), (4, 1)]
    task = task_of([question(n, scores=score) for n, score in enumerate(scores)])
    chosen = {"00-good": 1, "01-good": 0, "02-good": 0, "03-good": 1, "04-good": 1, "05-good": 0.5}
    result = result_of(task, read_annotations(saved(tmp_path, exported(task, "ann", chosen))))
    # Same, opposite, same, the judge ties; no score and the person's tie say nothing.
    assert result["self_judge"]["mean"] == pytest.approx((1 + 0 + 1 + 0.5) / 4)
    assert result["self_judge"]["n"] == 4
    assert result_of(task, [])["self_judge"] is None


def test_identical_answers_count_as_ties_beside_the_rate(tmp_path: Path) -> None:
    questions = [question(n) for n in range(3)] + [question(9, "same", "same")]
    task = task_of(questions, kind="models")
    chosen = {"00-good": 1, "01-good": 1, "02-good": 0}
    result = result_of(task, read_annotations(saved(tmp_path, exported(task, "ann", chosen))))
    assert result["identical_share"] == 0.25
    # 3/4 of the pairs at 2/3 and 1/4 of them at 1/2.
    assert result["preference_with_identical"] == pytest.approx(0.75 * 2 / 3 + 0.125)
    assert any("25 % of the pairs are the same text" in line for line in lines_of(result))


def test_labels_are_lines_of_comparisons(tmp_path: Path, task: LabelTask) -> None:
    annotations = read_annotations(
        saved(tmp_path, exported(task, "ann", {"00-good": 1, "01-good": None}))
    )
    (line,) = label_lines(task, annotations).splitlines()
    assert json.loads(line) == {
        "prompt": "prompt-0", "first": "00-good", "second": "00-bad", "preference": 1.0,
        "annotator": "ann", "task": task.hash,
    }  # fmt: skip


def test_the_lines_say_what_was_found(tmp_path: Path, task: LabelTask) -> None:
    everything = {f"{n:02}-good": 1 for n in range(5)} | {"05-good": 0}
    first, second = exported(task, "ann", everything), exported(task, "bob", everything)
    said = "\n".join(lines_of(result_of(task, read_annotations(saved(tmp_path, first, second)))))
    assert "ann (6), bob (6)" in said
    assert "10 wins, 0 ties, 2 losses, 0 skips, 2.5 s each" in said
    assert "83.3 % (" in said
    assert "on 100 % of 6 items; Krippendorff's alpha 1.00, Cohen's kappa 1.00" in said


def test_estimates_without_an_interval() -> None:
    assert estimate(None) == "nothing was compared"
    one = {"mean": 1.0, "low": None, "high": None, "n": 1, "clusters": 1}
    assert estimate(one) == "100.0 % (1 prompt: too few for an interval)"


def refused(tmp_path: Path, task: LabelTask, said: str, *exports: Any) -> None:
    with pytest.raises(UserError, match=said):
        check_annotations(read_annotations(saved(tmp_path, *exports)), task)


def test_a_file_of_another_page_is_refused(tmp_path: Path, task: LabelTask) -> None:
    other = task_of([question(n) for n in range(3)], seed=1)
    mine = exported(task, "ann", {"00-good": 1})
    theirs = exported(other, "bob", {"00-good": 1})
    refused(tmp_path, task, "is of another page than", mine, theirs)
    refused(tmp_path, task, "was labeled on another page", theirs)


def test_an_edited_item_is_refused(tmp_path: Path, task: LabelTask) -> None:
    edited = exported(task, "ann", {"00-good": 1})
    edited["items"][0]["id"] = "0123456789abcdef"
    refused(tmp_path, task, '1 items are not on the page, such as "0123456789abcdef"', edited)
    edited["items"][0]["id"] = "two\nlines"
    refused(tmp_path, task, r'such as "two\\nlines"; it was edited', edited)


def test_a_person_counts_once(tmp_path: Path, task: LabelTask) -> None:
    one = exported(task, "Ann", {"00-good": 1})
    two = exported(task, " ann ", {"01-good": 1})
    refused(tmp_path, task, "'ann' is the annotator of", one, two)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda e: e.update(format="x"), "was not exported by a label page"),
        (lambda e: e.update(annotator=" "), "names no annotator"),
        (lambda e: e.update(items=[]), "holds no choice"),
        (lambda e: e.update(items={}), "has no list of items"),
        (lambda e: e["items"].append(e["items"][0]), "item 2 is there twice"),
        (lambda e: e["items"][0].update(choice="both"), "choice='both' must be one of left"),
        (lambda e: e["items"][0].update(choice=["left"]), "must be one of left"),
        (lambda e: e["items"][0].update(seconds="1"), "item 1 has no seconds"),
        (lambda e: e["items"][0].update(seconds=-1), "item 1 has no seconds"),
        (
            lambda e: e["items"][0].update(seconds=10**400),
            "no seconds from 0 to 100,000,000",
        ),
        (lambda e: e["items"][0].update(seconds=1e308), "item 1 has no seconds"),
        (lambda e: e["items"][0].update(seconds=float("nan")), "item 1 has no seconds"),
        (lambda e: e["items"].__setitem__(0, 3), "item 1 has no id"),
    ],
)
def test_what_no_page_exports_is_refused(
    tmp_path: Path, task: LabelTask, change: Any, said: str
) -> None:
    export = exported(task, "ann", {"00-good": 1})
    change(export)
    refused(tmp_path, task, said, export)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_annotations([tmp_path / "none.json"])
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(UserError, match="is not JSON"):
        read_annotations([tmp_path / "bad.json"])
    (tmp_path / "bad.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match=r"is not JSON \(nested too deeply\)"):
        read_annotations([tmp_path / "bad.json"])


def test_an_export_that_says_two_things_or_begins_with_a_mark(
    tmp_path: Path, task: LabelTask
) -> None:
    text = json.dumps(exported(task, "ann", {"00-good": 1}))
    place = tmp_path / "one.json"
    place.write_text("\ufeff" + text)
    assert read_annotations([place])[0].annotator == "ann"
    place.write_text(text.replace('"choice"', '"choice": "tie", "choice"', 1))
    with pytest.raises(UserError, match=r'is not JSON \(names the field "choice" twice\)'):
        read_annotations([place])


@given(damaged_json(exported(task_of([question(0), question(1)]), "ann", {"00-good": 1})))
def test_whatever_stands_in_an_exports_place_is_labels_or_a_line(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes
) -> None:
    place = tmp_path_factory.getbasetemp() / "export.json"
    place.write_bytes(raw)
    task, said = task_of([question(0), question(1)]), ""
    try:
        annotations = read_annotations([place])
        check_annotations(annotations, task)
        assert list(lines_of(result_of(task, annotations)))
    except UserError as error:
        said = str(error)
    assert len(said.splitlines()) <= 1
