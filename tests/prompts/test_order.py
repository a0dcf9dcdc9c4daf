"""The arithmetic of dealing prompts out."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iterdpo.errors import UserError
from iterdpo.prompts.base import assert_held_out, iteration_slice, shuffled, texts_sha256
from iterdpo.prompts.sets import PromptSet
from iterdpo.records import Prompt

TEXTS = [f"prompt {n}" for n in range(10)]


def pool(texts: list[str]) -> PromptSet:
    return PromptSet("loop", tuple(texts), lambda text: Prompt.of(text, "here"), "write some")


def prompts(*texts: str) -> list[Prompt]:
    return [Prompt.of(text, "here") for text in texts]


def test_order_is_known_in_advance() -> None:
    # Written down: an order that changes would change every run's prompts.
    assert shuffled(["a", "b", "c", "d"], seed=0) == ["c", "a", "b", "d"]


def test_order_depends_on_seed_and_turn_but_not_on_the_order_given() -> None:
    assert shuffled(TEXTS, 0) == shuffled(reversed(TEXTS), 0)
    assert len({tuple(shuffled(TEXTS, seed, turn)) for seed in (0, 1) for turn in (0, 1)}) == 4


def test_iterations_are_disjoint_until_the_source_is_exhausted() -> None:
    slices = [iteration_slice(TEXTS, t, 3, seed=5) for t in (1, 2, 3)]
    assert len({text for texts, _ in slices for text in texts}) == 9
    assert [repeats for _, repeats in slices] == [False, False, False]


def test_the_rest_of_a_turn_is_filled_up_from_the_next() -> None:
    dealt = [iteration_slice(TEXTS, t, 4, seed=5) for t in (1, 2, 3, 4, 5)]
    assert [repeats for _, repeats in dealt] == [False, False, True, True, True]
    flat = [text for texts, _ in dealt for text in texts]
    assert sorted(flat[:10]) == TEXTS
    assert sorted(flat[10:]) == TEXTS
    assert flat[:10] != flat[10:], "the second turn has an order of its own"


@given(
    size=st.integers(1, 12), count=st.integers(1, 15), rounds=st.integers(1, 9),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_dealing_is_fair(size: int, count: int, rounds: int, seed: int) -> None:
    texts = [f"text {n}" for n in range(size)]
    slices = [iteration_slice(texts, t, count, seed) for t in range(1, rounds + 1)]
    uses = dict.fromkeys(texts, 0)
    for dealt, repeats in slices:
        assert len(dealt) == len(set(dealt)) == min(count, size)
        assert repeats == any(uses[text] for text in dealt)
        for text in dealt:
            uses[text] += 1
    assert max(uses.values()) - min(uses.values()) <= 1


@pytest.mark.parametrize(("iteration", "count"), [(0, 1), (1, 0)])
def test_iterations_and_counts_start_at_one(iteration: int, count: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        iteration_slice(TEXTS, iteration, count, 0)


def test_held_out_prompts_pass_when_they_are() -> None:
    assert_held_out(prompts("a", "b"), prompts("c"))


@pytest.mark.parametrize("leak", ["Name two  birds", "name two birds\n", "NAME TWO BIRDS"])
def test_a_leak_is_named(leak: str) -> None:
    with pytest.raises(UserError, match=r"1 of 2 held-out prompts .*here") as error:
        assert_held_out(prompts("Name two birds", "x"), prompts("y", leak))
    assert "\n" not in str(error.value)


def test_leaks_in_another_unicode_form_are_found() -> None:
    with pytest.raises(UserError):
        assert_held_out(prompts("café"), prompts("cafe\u0301"))


def test_hash_of_texts_sees_text_and_order() -> None:
    assert len({texts_sha256(t) for t in (["a", "b"], ["b", "a"], ["ab"], ["a,b"])}) == 4


def test_an_empty_set_says_what_to_do() -> None:
    asks: tuple[Callable[[], object], ...] = (
        lambda: pool([]).iteration(1, 5, 0),
        lambda: pool([]).first(5, 0),
    )
    for ask in asks:
        with pytest.raises(UserError, match="none for the loop set: write some"):
            ask()


def test_too_few_prompts_are_all_given_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    assert len(pool(["a", "b"]).first(5, 0)) == 2
    assert "the loop set has 2, fewer than the 5 asked for" in caplog.text


def test_starting_over_warns(caplog: pytest.LogCaptureFixture) -> None:
    pool(TEXTS).iteration(2, 5, 0)
    assert caplog.text == ""
    pool(TEXTS).iteration(3, 5, 0)
    assert "iteration 3 takes prompts that earlier iterations had" in caplog.text


def test_a_longer_held_out_set_begins_with_the_shorter_one() -> None:
    assert pool(TEXTS).first(8, 3)[:4] == pool(TEXTS).first(4, 3)
    assert pool(TEXTS).first(8, 3) != pool(TEXTS).first(8, 4)
