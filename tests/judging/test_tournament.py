"""Scores from comparisons, by hand; who meets whom; what could not be read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iterdpo.engines.scripted import ScriptedEngine
from iterdpo.judging.tournament import Tournament, meetings
from iterdpo.models.chat_messages import Request
from iterdpo.records import Candidate, Policy, Prompt, UnscoredReason
from iterdpo.settings import identity
from tests.judging.rankers import POLICY, candidate, judged, unscored

RUBRIC = "{{ prompt }}|{{ first }}|{{ second }}"
PROMPTS = (Prompt.of("one", "t"), Prompt.of("two", "t"))


Prefer = Callable[[str, str], float | None]


@pytest.fixture
def tournament(tmp_path: Path) -> Callable[..., Tournament]:
    """A function from the probability of the first response, given both texts, to a judge."""
    (tmp_path / "rubric.jinja").write_text(RUBRIC)

    def make(choose: Prefer, context: int | None = None, **changes: Any) -> Tournament:
        def answer(request: Request, policy: Policy) -> dict[str, float]:
            first = choose(*request.messages[-1].content.split("|")[1:])
            return {"1": first, "2": 1 - first} if first is not None else {}

        settings: Any = {
            "model": "current", "rubric": str(tmp_path / "rubric.jinja"), "comparisons": "all",
            "min_readable": 0.5, "min_mass": 0.1, "low": 0, "high": 5, "system": None,
        }  # fmt: skip
        engine = ScriptedEngine(lambda *_: "", answer, context=context)
        return Tournament(engine=engine, **(settings | changes))

    return make


def answers_to(prompt: Prompt, *texts: str) -> list[Candidate]:
    return [candidate(prompt, index, text) for index, text in enumerate(texts)]


def test_a_score_is_the_mean_preference_on_the_judge_s_scale(
    tournament: Callable[..., Tournament],
) -> None:
    # The preference for the response shown first, with a liking for the first place.
    table = {("a", "b"): 0.9, ("b", "a"): 0.3, ("a", "c"): 1.0, ("c", "a"): 0.2,
             ("b", "c"): 0.7, ("c", "b"): 0.5}  # fmt: skip
    judge = tournament(lambda first, second: table[first, second])
    answers = answers_to(PROMPTS[0], "a", "b", "c")
    made = judged(judge, PROMPTS, answers)
    # a: (0.8 + 0.9) / 2; b: (0.2 + 0.6) / 2; c: (0.1 + 0.4) / 2, each times 5.
    assert [item.score for item in made] == pytest.approx([4.25, 2.0, 1.25])
    assert {item.judge for item in made} == {POLICY.fingerprint}
    assert made[1].raw == (
        f"against {answers[0].id}: 0.3000 shown first, 0.1000 shown second",
        f"against {answers[2].id}: 0.7000 shown first, 0.5000 shown second",
    )
    assert judge.counts == {"comparisons": 3, "flipped": 0, "unread": 0}


def test_a_liking_for_a_place_gives_everyone_the_middle_and_is_counted(
    tournament: Callable[..., Tournament],
) -> None:
    judge = tournament(lambda first, second: 0.9, low=1, high=9)
    made = judged(judge, PROMPTS, answers_to(PROMPTS[0], "a", "b", "c"))
    assert [item.score for item in made] == pytest.approx([5.0, 5.0, 5.0])
    assert judge.counts == {"comparisons": 3, "flipped": 3, "unread": 0}


def test_prompts_are_kept_apart_and_equal_texts_tie(tournament: Callable[..., Tournament]) -> None:
    judge = tournament(lambda first, second: 0.8 if first < second else 0.2)
    candidates = [*answers_to(PROMPTS[1], "b", "a"), *answers_to(PROMPTS[0], "c", "c")]
    made = judged(judge, PROMPTS, candidates)
    assert [item.candidate_id for item in made] == [item.id for item in candidates]
    assert [item.score for item in made] == pytest.approx([1.0, 4.0, 2.5, 2.5])
    engine = judge.arbiter.engine
    assert isinstance(engine, ScriptedEngine)
    assert engine.calls == [("choice_logprobs", "M0", 2)]


def test_what_was_not_read_is_left_out_until_it_is_too_much(
    tournament: Callable[..., Tournament],
) -> None:
    # Whatever c is in cannot be read: a and b have one of two comparisons, c none.
    def choose(first: str, second: str) -> float | None:
        return None if "c" in (first, second) else 0.75 if first == "a" else 0.25

    answers = answers_to(PROMPTS[0], "a", "b", "c")
    judge = tournament(choose)
    a, b, c = judged(judge, PROMPTS, answers)
    assert (a.score, b.score) == pytest.approx((3.75, 1.25))
    assert unscored(c).reason is UnscoredReason.NO_MASS
    assert "unread shown first, unread shown second" in c.raw[0]
    assert judge.counts["unread"] == 2
    a, *_ = judged(tournament(choose, min_readable=0.6), PROMPTS, answers)
    assert unscored(a).reason is UnscoredReason.TOO_FEW_READABLE


def test_a_comparison_too_long_for_the_judge_and_an_answer_alone(
    tournament: Callable[..., Tournament],
) -> None:
    judge = tournament(lambda *_: 0.5, context=4)
    first, _ = judged(judge, PROMPTS, answers_to(PROMPTS[0], "a " * 9, "b"))
    assert unscored(first).reason is UnscoredReason.PROMPT_TOO_LONG
    (alone,) = judged(judge, PROMPTS, answers_to(PROMPTS[0], "a"))
    assert unscored(alone).reason is UnscoredReason.TOO_FEW_READABLE
    assert alone.raw == ()


def test_meetings_by_hand() -> None:
    assert meetings(4, "all") == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    assert meetings(5, 2) == [(0, 1), (1, 2), (2, 3), (3, 4), (4, 0)]
    assert meetings(3, 2) == meetings(3, "all")
    assert meetings(1, "all") == meetings(1, 4) == meetings(0, "all") == []


@given(st.integers(0, 14), st.integers(2, 12))
def test_meetings_are_shared_out_evenly(n: Any, comparisons: Any) -> None:
    made = meetings(n, comparisons)
    assert len({frozenset(pair) for pair in made}) == len(made)
    assert all(one != other and 0 <= one < n and 0 <= other < n for one, other in made)
    met = Counter(place for pair in made for place in pair)
    each = min(comparisons + comparisons % 2, n - 1)
    assert all(met[place] == each for place in range(n))
    if each == n - 1:
        assert len(made) == len(list(combinations(range(n), 2)))


def test_its_key_holds_the_settings_the_rubric_and_the_engine(
    tournament: Callable[..., Tournament],
) -> None:
    def key(**changes: Any) -> Any:
        return identity(tournament(lambda *_: 0.5, **changes))

    plain = key()
    assert (plain["name"], plain["engine"]) == ("pairwise", {"engine": "scripted", "context": None})
    assert len(plain["rubric"]) == 64
    for change in ({"comparisons": 2}, {"min_readable": 0.1}, {"min_mass": 0.2}, {"low": 1},
                   {"high": 4}, {"system": "Be fair."}, {"rubric": "better"}):  # fmt: skip
        assert key(**change) != plain, change
    assert key(model="initial") == plain
