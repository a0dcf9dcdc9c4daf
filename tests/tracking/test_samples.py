"""What is shown of an iteration's answers, and of its training."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iterdpo.tracking.curves import axes, curve_rows
from iterdpo.tracking.histograms import histogram
from iterdpo.tracking.samples import Answered, distributions, evenly, pair_rows, sample_rows
from tests.tracking.rounds import candidate, judgment, pair, prompt


def answered(margins: list[float | None]) -> Answered:
    """A prompt for each margin, with two answers; None for one without a pair."""
    prompts = [prompt(n) for n in range(len(margins))]
    answers = [candidate(p.id, i, f"answer {i}", 3 - i) for p in prompts for i in (0, 1)]
    pairs = [
        pair(prompts[n], answers[2 * n], answers[2 * n + 1], margin)
        for n, margin in enumerate(margins)
        if margin is not None
    ]
    judgments = [judgment(answer, None if answer.id == "p0-1" else 2.5) for answer in answers]
    return Answered(2, prompts, answers, judgments, pairs)


def test_prompts_are_spread_over_the_margins_those_without_a_pair_first() -> None:
    made = answered([3.0, None, 1.0, 2.0, 0.5])  # in order: p1, p4, p2, p3, p0
    shown = [row["prompt"] for row in sample_rows(made, 3)]
    assert shown == [f"name a tool, {n}" for n in (1, 1, 2, 2, 0, 0)]
    assert len(sample_rows(made, 100)) == 10


def test_every_answer_says_what_became_of_it() -> None:
    third, _, first, second = sample_rows(answered([1.0, None]), 2)
    assert first == {
        "iteration": 2, "prompt": "name a tool, 0", "answer": "answer 0", "score": 2.5,
        "mark": "chosen", "margin": 1.0, "tokens": 3, "truncated": False, "unscored": "",
        "judge_wrote": "",
    }  # fmt: skip
    assert (second["mark"], second["score"], second["unscored"]) == ("rejected", None, "no_mass")
    assert (third["mark"], third["margin"]) == ("", None)


def test_a_prompt_counts_by_its_largest_margin() -> None:
    one = prompt(0)
    answers = [candidate(one.id, index, "") for index in range(4)]
    pairs = [pair(one, answers[0], answers[3], 2.0), pair(one, answers[1], answers[2], -1.0)]
    assert Answered(1, [one], answers, [], pairs).margins == {"p0": 2.0}


def test_what_the_judge_wrote_is_shown() -> None:
    one = prompt(0)
    answer = candidate(one.id, 0, "<b>")
    made = Answered(1, [one], [answer], [judgment(answer, 3.0, ("good", "fine"))], [])
    (row,) = sample_rows(made, 1)
    assert (row["answer"], row["judge_wrote"]) == ("<b>", "good\n\nfine")


def test_pairs_are_spread_over_the_margins() -> None:
    rows = pair_rows(answered([3.0, 1.0, 2.0, 5.0, 4.0]), 3)
    assert [row["margin"] for row in rows] == [1.0, 3.0, 5.0]
    assert (rows[0]["chosen_tokens"], rows[0]["rejected_tokens"]) == (3, 2)
    assert rows[0]["chosen"] == "answer 0"


def test_distributions_leave_out_what_has_no_score() -> None:
    assert distributions(answered([1.0, None])) == {
        "score": [2.5, 2.5, 2.5], "margin": [1.0], "tokens": [3, 2, 3, 2],
        "chosen_tokens": [3], "rejected_tokens": [2],
    }  # fmt: skip


@given(st.lists(st.integers(), unique=True), st.integers(0, 30))
def test_evenly_keeps_the_order_the_ends_and_the_count(items: list[int], count: int) -> None:
    taken = evenly(items, count)
    assert len(taken) == min(count, len(items))
    assert sorted(taken, key=items.index) == taken
    if 2 <= count <= len(items):
        assert (taken[0], taken[-1]) == (items[0], items[-1])


def test_evenly_at_hand() -> None:
    assert evenly("abcdefghi", 5) == ["a", "c", "e", "g", "i"]
    assert evenly("abcde", 1) == ["c"]


def test_a_curve_stands_on_both_axes() -> None:
    history = [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.25, "rewards/margins": 1.0}]
    assert curve_rows("M2", history, 10) == [
        {"train/step": 11, "train/loss": 0.5, "train/M2/step": 1, "train/M2/loss": 0.5},
        {
            "train/step": 12, "train/loss": 0.25, "train/rewards/margins": 1.0,
            "train/M2/step": 2, "train/M2/loss": 0.25, "train/M2/rewards/margins": 1.0,
        },
    ]  # fmt: skip
    assert axes(["train/step", "train/rewards/margins", "train/M2/step", "train/M2/loss"]) == {
        "train/rewards/margins": "train/step", "train/M2/loss": "train/M2/step",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("values", "bins", "counts", "edges"),
    [
        ([1, 3, 3], 4, [1, 0, 2], [0.5, 1.5, 2.5, 3.5]),
        ([1, 2, 3, 4, 5], 2, [3, 2], [0.5, 3.5, 6.5]),
        ([2.0], 8, [1], [1.5, 2.5]),
        ([0.0, 0.5, 1.0], 2, [1, 2], [0.0, 0.5, 1.0]),
    ],
)
def test_histograms(values: list[float], bins: int, counts: list[int], edges: list[float]) -> None:
    found, at = histogram(values, bins)
    assert (found.tolist(), at.tolist()) == (counts, edges)


@given(st.lists(st.integers(-1000, 1000), min_size=1), st.integers(1, 40))
def test_whole_numbers_are_all_counted_in_bins_of_as_many(values: list[int], bins: int) -> None:
    counts, edges = histogram(values, bins)
    assert counts.sum() == len(values)
    assert 1 <= len(counts) <= bins
    widths = np.diff(edges)
    assert (widths == widths[0]).all()
    assert float(widths[0]).is_integer()
