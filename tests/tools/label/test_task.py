"""What people are asked is blinded, and the key alone tells the sides apart."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iterdpo.errors import UserError
from iterdpo.runs.directory import Run
from iterdpo.tools.label.page import escaped_json, page_html
from iterdpo.tools.label.sources import questions_of
from iterdpo.tools.label.task import Item, Kind, key_text, make_task, read_key
from tests.narrowing import present
from tests.tools.label.questions import question, task_of

MANY = [question(n) for n in range(200)]


def test_sides_are_shuffled_by_the_seed_and_about_evenly() -> None:
    first = {item.id: item.first_is_left for item in task_of(MANY, seed=0).items}
    left = sum(first.values())
    assert 70 <= left <= 130  # 200 fair coins leave this by less than one time in 10,000
    sides = {q.prompt_id: [Item.of(q, seed).first_is_left for seed in range(20)] for q in MANY[:9]}
    assert all(len(set(own)) == 2 for own in sides.values())


def test_the_same_command_makes_the_same_page() -> None:
    assert page_html(task_of(MANY)) == page_html(task_of(MANY))
    assert task_of(MANY, seed=1).hash != task_of(MANY).hash


def test_neither_the_texts_nor_which_is_measured_decide_the_side_alone() -> None:
    q = question(1)
    turned = type(q)(q.prompt_id, q.prompt, q.second, q.first)
    same_text_left = {Item.of(q, s).left == Item.of(turned, s).left for s in range(30)}
    assert same_text_left == {True, False}


def test_the_page_holds_nothing_that_tells_the_sides_apart() -> None:
    task = task_of(MANY)
    page = page_html(task)
    for item in task.items:
        for side in (item.question.first, item.question.second):
            assert side.candidate_id not in page
    assert '"good"' not in page
    assert "first_is_left" not in page
    assert task.run not in json.loads(page.split('id="data">')[1].split("</script>")[0])


def test_prompts_come_once_before_any_comes_twice() -> None:
    repeated = [question(n, first=f"good {n} {k}") for n in range(5) for k in range(4)]
    chosen = make_task("candidates", "run", ("a", "b"), repeated, 7, 0)
    counts = Counter(item.question.prompt_id for item in chosen.items)
    assert sorted(counts.values()) == [1, 1, 1, 2, 2]


def test_identical_answers_are_counted_and_not_shown() -> None:
    questions = [question(1, "same  text", "same text"), question(2)]
    task = make_task("models", "run", ("M1", "M0"), questions, 10, 0)
    assert (len(task.items), task.identical, task.total) == (1, 1, 2)
    with pytest.raises(UserError, match="no two different answers"):
        make_task("models", "run", ("M1", "M0"), questions[:1], 10, 0)


@given(st.lists(st.tuples(st.text(), st.text(), st.text()), min_size=1, max_size=3, unique=True))
def test_any_text_survives_key_and_page(
    tmp_path_factory: pytest.TempPathFactory, texts: Any
) -> None:
    questions = [
        question(n, f"a{first}", f"b{second}", f"c{prompt}")
        for n, (prompt, first, second) in enumerate(texts)
    ]
    task = task_of(questions)
    place = tmp_path_factory.mktemp("key") / "k.key.json"
    place.write_text(key_text(task))
    assert read_key(place) == task
    data = page_html(task).split('<script type="application/json" id="data">')[1]
    read = json.loads(data.split("</script>")[0])  # the first one is the element's own end
    assert read["items"] == [[i.id, i.prompt, i.left, i.right] for i in task.items]


@given(st.text())
def test_data_stays_data(text: Any) -> None:
    escaped = escaped_json({"x": text})
    assert not set("<>&") & set(escaped)
    assert escaped.isascii()
    assert json.loads(escaped) == {"x": text}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda key: key["items"][0].update(left="edited"), "was changed"),
        (lambda key: key["items"][0]["question"]["first"].update(text="edited"), "was changed"),
        (lambda key: key.update(seed=5), "was changed"),
        (lambda key: key["items"].pop(), "was changed"),
        (lambda key: key["items"][0].pop("id"), "is damaged"),
        (lambda key: key["items"][0]["question"]["first"].update(score="high"), "is damaged"),
        (lambda key: key.update(items=None), "is damaged"),
        (lambda key: key.update(seed=10**400), "is damaged|was changed"),
        (lambda key: key.update(identical=-1), "was changed"),
        (lambda key: key.update(total=1), "was changed"),
        (lambda key: key.pop("task"), "was changed"),
        (lambda key: key.update(format="other"), "is no key"),
    ],
)
def test_a_key_that_was_changed_is_refused(tmp_path: Path, change: Any, said: str) -> None:
    values = json.loads(key_text(task_of([question(n) for n in range(8)])))
    change(values)
    place = tmp_path / "k.key.json"
    place.write_text(json.dumps(values))
    with pytest.raises(UserError, match=said):
        read_key(place)


def test_what_a_run_offers(finished_run: Path) -> None:
    run = Run.open(finished_run)
    names, questions = questions_of(run, "models", ("M0", "M2"), None, False)
    assert names == ("M2", "M0")
    assert len(questions) == 5
    assert {q.first.text.split()[0] for q in questions} == {"M2"}
    assert all(q.first.text.endswith("0") for q in questions)  # the first sample
    names, questions = questions_of(run, "pairs", ("M0", "M2"), None, False)
    assert names == ("chosen", "rejected")
    assert len(questions) == sum(len(run.made(t).pairs) for t in (1, 2))
    assert all(present(q.first.score) > present(q.second.score) for q in questions)
    assert len(questions_of(run, "pairs", ("M0", "M2"), 1, False)[1]) == len(run.made(1).pairs)
    _, questions = questions_of(run, "candidates", ("M0", "M2"), 1, False)
    assert len(questions) == 6 * (4 * 3 // 2)  # every two of four answers to six prompts
    assert {q.first.text.split()[0] for q in questions} == {"M0"}


@pytest.mark.parametrize(
    ("kind", "models", "iteration", "said"),
    [
        ("pairs", ("M0", "M2"), 3, "--iteration=3: .* has 1 to 2"),
        ("candidates", ("M0", "M2"), 0, "--iteration=0"),
        ("models", ("M0", "M9"), None, "no model M9"),
        ("models", ("M1", "M1"), None, "two different models"),
    ],
)
def test_what_a_run_does_not_have(
    finished_run: Path, kind: Kind, models: tuple[str, str], iteration: int | None, said: str
) -> None:
    with pytest.raises(UserError, match=said):
        questions_of(Run.open(finished_run), kind, models, iteration, False)
