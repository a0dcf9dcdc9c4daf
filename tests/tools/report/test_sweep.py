"""Settings compared: seeds pooled by prompt, differences paired, quality against length."""

from __future__ import annotations

import math
from typing import Any

import pytest
from scipy import stats

from iterdpo.tools.report.sweep import (
    Member,
    compare,
    compared_keys,
    deviation,
    front,
    lead,
    significant,
)
from tests.narrowing import bounds, present


def member(
    index: int,
    beta: str,
    seed: str,
    scores: dict[str, list[float]],
    tokens: float = 10.0,
    **more: Any,
) -> Member:
    settings = {"training.beta": beta, "seed": seed, "store.root": f"store{index}", **more}
    return Member(index, settings, scores, tokens)


def test_the_keys_are_those_that_differ_but_for_the_seed_and_what_changes_no_result() -> None:
    runs = [
        {"training.beta": "0.1", "seed": "0", "tracking.group": "a", "same": "1"},
        {"training.beta": "0.3", "seed": "1", "tracking.group": "b", "same": "1"},
        {"training.beta": "0.3", "seed": "1", "tracking.group": "b", "same": "1", "new": "x"},
    ]
    assert compared_keys(runs) == ("training.beta", "new")


def test_a_setting_pools_its_seeds_with_a_cluster_a_prompt() -> None:
    # Prompt a: 1, 3 and 2, 2 over two seeds; prompt b: 4, 4 and 5, 5. Mean 26 / 8 = 3.25; sums of
    # deviations -5 and 5; SE² = 2 / 1 · (25 + 25) / 64; t with 1 degree of freedom.
    members = [
        member(0, "0.1", "0", {"a": [1, 3], "b": [4, 4]}),
        member(1, "0.1", "1", {"a": [2, 2], "b": [5, 5]}),
    ]
    quality = compare(members).best.quality
    assert quality.mean == 3.25
    assert (quality.n, quality.clusters) == (8, 2)
    half = stats.t.ppf(0.975, 1) * math.sqrt(2 * 50 / 64)
    assert quality.high == pytest.approx(3.25 + half)


def test_the_lead_is_paired_by_seed_and_prompt() -> None:
    best = [
        member(0, "0.1", "0", {"a": [3], "b": [5]}),
        member(1, "0.1", "1", {"a": [1], "b": [2]}),
    ]
    next_ = [
        member(2, "0.3", "0", {"a": [2], "b": [4.5]}),
        member(3, "0.3", "1", {"a": [0], "b": [1]}),
    ]
    compared = compare([*next_, *best])
    assert [setting.values for setting in compared.settings] == [("0.1",), ("0.3",)]
    ahead = compared.ahead[1]
    # Gaps: a 1, 1; b 0.5, 1.
    assert ahead is not None
    assert ahead.mean == pytest.approx(0.875)
    half = stats.t.ppf(0.975, 1) * math.sqrt(2 * (0.25**2 + 0.25**2) / 16)
    assert ahead.low == pytest.approx(0.875 - half)
    assert compared.ahead[0] is None


def test_trainings_are_shown_beside_an_interval_that_is_for_prompts() -> None:
    # All prompts agree and the seeds do not: 3.5 and 1 against 2 and 2.
    def alike(score: float) -> dict[str, list[float]]:
        return {prompt: [score] for prompt in ("a", "b", "c")}

    best = [member(0, "0.1", "10", alike(3.5)), member(1, "0.1", "2", alike(1.0))]
    next_ = [member(2, "0.3", seed, alike(2.0)) for seed in ("2", "10")]
    compared = compare([*next_, *best])
    assert bounds(compared.ahead[1]) == (0.25, 0.25)
    assert compared.best.by_seed == [("2", 1.0), ("10", 3.5)]
    assert compared.ahead_by_seed == ((), (-1.0, 1.5))
    assert deviation([1.0, 3.5]) == pytest.approx(2.5 / math.sqrt(2))
    assert deviation([1.0]) is None


def test_leads_by_seed_need_the_same_seeds() -> None:
    one = [member(0, "0.1", "0", {"a": [3]}), member(1, "0.1", "1", {"a": [3]})]
    other = [member(2, "0.3", "0", {"a": [2]}), member(3, "0.3", "0", {"a": [1]})]
    assert compare([*one, *other]).ahead_by_seed == ((), ())


def test_a_seed_is_compared_with_itself_however_many_answers_it_has() -> None:
    best = [member(0, "0.1", "0", {"a": [3, 3, 3]}), member(1, "0.1", "1", {"a": [1]})]
    next_ = [member(2, "0.3", "0", {"a": [2]}), member(3, "0.3", "1", {"a": [0, 0, 0]})]
    ahead = compare([*best, *next_]).ahead[1]
    assert ahead is not None
    # 1 at both seeds; the pooled means would be 2 apart.
    assert (ahead.mean, ahead.n) == (1, 2)


def test_a_pair_of_settings_without_the_same_seeds_is_paired_by_prompt_alone() -> None:
    one = compare([member(0, "0.1", "0", {"a": [3, 5], "b": [4]})]).best
    other = compare([member(1, "0.3", "1", {"a": [2], "c": [1]})]).best
    ahead = lead(one, other)
    assert ahead is not None
    assert (ahead.mean, ahead.n) == (2, 1)
    assert not significant(ahead), "one prompt has no interval"


def test_settings_that_share_no_prompt_have_no_difference() -> None:
    one = compare([member(0, "0.1", "0", {"a": [3]})]).best
    other = compare([member(1, "0.3", "0", {"b": [3]})]).best
    assert lead(one, other) is None


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([(1, 1), (2, 2), (3, 1.5)], [True, True, False]),
        ([(1, 1), (1, 1)], [True, True]),
        ([(1, 1), (1, 2)], [False, True]),
        ([(2, 1), (1, 1)], [False, True]),
        ([], []),
    ],
)
def test_the_front_holds_what_no_other_beats_in_both(
    points: list[tuple[int, float]], expected: list[bool]
) -> None:
    assert front(points) == expected


def test_shares_have_the_interval_of_a_win_rate() -> None:
    won = {f"p{n}": [1.0, 1.0] for n in range(8)}
    settings = {"training.beta": "0.1", "seed": "0"}
    best = compare([Member(0, settings, won, 10.0, share=True)]).best
    assert best.quality.high == 1
    assert present(best.quality.low) < 0.95, "sixteen wins of sixteen prove less than certainty"
    assert compare([Member(0, settings, won, 10.0)]).best.quality.low == 1


def test_a_lead_in_shares_is_not_certain_after_two_prompts() -> None:
    def ahead(prompts: Any) -> Any:
        better, even = ({f"p{n}": [share] for n in range(prompts)} for share in (1.0, 0.5))
        pair = [
            Member(number, {"training.beta": str(number), "seed": "0"}, scores, 10.0, share=True)
            for number, scores in enumerate((better, even))
        ]
        return compare(pair).ahead[1]

    few, many = ahead(2), ahead(40)
    assert few.mean == many.mean == 0.5
    assert few.low < 0 < few.high <= 1, "t would give an interval of width 0"
    assert not significant(few)
    assert significant(many)
