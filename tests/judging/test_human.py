"""People as judges: scores are shares of comparisons won, and pairs follow them."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iterdpo.cli import execute as run
from iterdpo.engines.scripted import ScriptedEngine
from iterdpo.errors import UserError
from iterdpo.judging.human import HumanJudge, Label, preferences, verdict_of
from iterdpo.pairing.base import build_pairs
from iterdpo.pairing.best_worst import BestWorst
from iterdpo.records import Candidate, Prompt, Scored, Unscored, UnscoredReason
from iterdpo.runs.directory import Run
from iterdpo.settings import identity
from tests.checkpoints import CheckpointOf
from tests.judging.rankers import POLICY, candidate, judged
from tests.made_run import answer, choose, config_of

PROMPT = Prompt.of("one", "t")
A, B, C = (candidate(PROMPT, n, text) for n, text in enumerate(("first", "second", "third")))


def line(first: Candidate, second: Candidate, preference: object, annotator: str = "ann") -> str:
    return json.dumps(
        {"first": first.id, "second": second.id, "preference": preference, "annotator": annotator}
    )


def judge_of(tmp_path: Path, *lines: str) -> HumanJudge:
    place = tmp_path / "labels.jsonl"
    place.write_text("\n".join(lines) + "\n")
    judge = HumanJudge(labels=place, low=0, high=5)
    judge.prepare()
    return judge


def test_a_score_is_the_share_of_comparisons_won(tmp_path: Path) -> None:
    judge = judge_of(
        tmp_path, line(A, B, 1), line(A, B, 0.5, "bob"), line(B, C, 1), line(C, A, 0, "bob")
    )
    a, b, c = judged(judge, [PROMPT], [A, B, C])
    # A: 1, 1/2, 1 of three; B: 0, 1/2, 1 of three; C: 0, 0 of two; times 5.
    assert a.score == pytest.approx(5 * 2.5 / 3)
    assert b.score == pytest.approx(5 * 1.5 / 3)
    assert c.score == 0
    assert a.judge == b.judge == judge.fingerprint != POLICY.fingerprint
    assert a.raw == (f"1 against {B.id}", f"0.5 against {B.id}", f"1 against {C.id}")


def test_nobody_compared_is_no_number(tmp_path: Path) -> None:
    _, _, c = judged(judge_of(tmp_path, line(A, B, 1)), [PROMPT], [A, B, C])
    assert c.verdict == Unscored(UnscoredReason.NOT_COMPARED)
    assert verdict_of([], 0, 5) == Unscored(UnscoredReason.NOT_COMPARED)
    assert verdict_of([0.5], 1, 3) == Scored(2.0)


def test_a_tie_makes_no_pair_and_a_preference_makes_one(tmp_path: Path) -> None:
    for preference, kept in ((1, [(A.id, B.id)]), (0, [(B.id, A.id)]), (0.5, [])):
        judge = judge_of(tmp_path, line(A, B, preference))
        judgments = judged(judge, [PROMPT], [A, B, C])
        made = build_pairs([PROMPT], [A, B, C], judgments, BestWorst())
        assert [(pair.chosen_id, pair.rejected_id) for pair in made.kept] == kept


def test_the_identity_is_the_content(tmp_path: Path) -> None:
    one = identity(judge_of(tmp_path, line(A, B, 1)))
    assert one == identity(judge_of(tmp_path, line(A, B, 1)))
    assert one != identity(judge_of(tmp_path, line(A, B, 0)))
    json.dumps(one)


def test_an_empty_range_is_refused(tmp_path: Path) -> None:
    judge_of(tmp_path, line(A, B, 1))
    with pytest.raises(ValueError, match="must be below"):
        HumanJudge(labels=tmp_path / "labels.jsonl", low=5, high=5)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "line 1 is not JSON"),
        ("3", "line 1 is no object"),
        (json.dumps({"first": "a"}), "line 1 has no text 'second'"),
        (json.dumps({"first": "a", "second": "b", "annotator": "x"}), "no number 'preference'"),
        (line(A, B, True), "no number 'preference'"),
        (line(A, B, 1.5), "has preference 1.5, which is not in"),
        (line(A, A, 1), "compares a candidate with itself"),
        (line(A, B, 1) + "\n" + line(B, A, 1), "line 2: 'ann' compared these two in line 1"),
        ("", "holds no comparison"),
    ],
)
def test_a_line_that_is_no_comparison(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as raised:
        judge_of(tmp_path, text)
    assert str(raised.value).startswith("judge.labels=")


def test_the_mark_before_a_file_is_no_part_of_it(tmp_path: Path) -> None:
    plain = judge_of(tmp_path, line(A, B, 1)).fingerprint
    assert judge_of(tmp_path, "\ufeff" + line(A, B, 1)).fingerprint == plain


def test_a_line_that_says_two_things(tmp_path: Path) -> None:
    twice = line(A, B, 1).replace("{", '{"preference": 0, ', 1)
    with pytest.raises(UserError, match='line 1 names the field "preference" twice'):
        judge_of(tmp_path, twice)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot be read \(No such file"):
        HumanJudge(labels=tmp_path / "none.jsonl", low=0, high=5).prepare()


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcd"), st.floats(0, 1))))
def test_what_one_side_gains_the_other_loses(rows: Any) -> None:
    labels = [Label(a, b, p, "x") for a, b, p in rows if a != b]
    found = preferences(labels)
    values = [value for others in found.values() for own in others.values() for value in own]
    assert len(values) == 2 * len(labels)
    assert sum(values) == pytest.approx(len(labels))


def test_candidates_of_a_run_are_paired_as_people_say(finished_run: Path, tmp_path: Path) -> None:
    """From the store's candidates, with labels that contradict the judge, to pairs."""
    made = Run.open(finished_run).made(1)
    lines = []
    for prompt in made.prompts[:4]:
        own = [item for item in made.candidates if item.prompt_id == prompt.id]
        # People prefer the lower index, the scripted judge the higher one.
        lines += [line(a, b, 1) for a, b in combinations(own, 2)]
    judge = judge_of(tmp_path, *lines)
    judgments = judged(judge, made.prompts, made.candidates)
    scored = [item for item in judgments if item.score is not None]
    assert len(scored) == 4 * 4
    pairs = build_pairs(made.prompts, made.candidates, judgments, BestWorst())
    assert len(pairs.kept) == 4
    index = {item.id: item.index for item in made.candidates}
    assert {(index[pair.chosen_id], index[pair.rejected_id]) for pair in pairs.kept} == {(0, 3)}
    # The judge's own pairs go the other way.
    assert {(index[pair.chosen_id], index[pair.rejected_id]) for pair in made.pairs} == {(3, 0)}


def test_a_run_trains_on_what_people_say(
    finished_run: Path, checkpoint_of: CheckpointOf, tmp_path: Path
) -> None:
    """The same candidates, read from the store, judged by people instead of the model."""
    before = Run.open(finished_run)
    made = before.made(1)
    lines = []
    for prompt in made.prompts[:4]:
        own = [item for item in made.candidates if item.prompt_id == prompt.id]
        lines += [line(a, b, 1) for a, b in combinations(own, 2)]
    (tmp_path / "labels.jsonl").write_text("\n".join(lines))
    config = config_of(
        finished_run.parent, checkpoint_of("llama"), "iterations=1",
        judge=["judge=human", f"judge.labels={tmp_path / 'labels.jsonl'}"],
    )  # fmt: skip
    engine = ScriptedEngine(answer=answer, choose=choose, vocabulary=200)
    run.execute(config, tmp_path / "run", engine)
    after = Run.open(tmp_path / "run")
    stages = after.summary.iterations[0].stages
    assert stages.candidates == before.summary.iterations[0].stages.candidates
    pairs = after.made(1).pairs
    index = {item.id: item.index for item in made.candidates}
    assert [(index[pair.chosen_id], index[pair.rejected_id]) for pair in pairs] == [(0, 3)] * 4
    assert {pair.prompt_id for pair in pairs} == {prompt.id for prompt in made.prompts[:4]}
    unscored = after.summary.iterations[0].judgments.reasons
    assert unscored == {"not_compared": 8}
    assert after.policy("M1").fingerprint != before.policy("M1").fingerprint
