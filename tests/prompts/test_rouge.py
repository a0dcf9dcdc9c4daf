"""ROUGE-L against arithmetic written out, a table of the textbook, and every pair compared."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iterdpo.prompts.rouge import SimilarityPool, rouge_l, words_of

WORDS = st.lists(st.sampled_from("abcde"), max_size=12)


def by_table(first: Sequence[str], second: Sequence[str]) -> int:
    """The longest common subsequence as textbooks compute it."""
    table = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for i, left in enumerate(first):
        for j, right in enumerate(second):
            table[i + 1][j + 1] = (
                table[i][j] + 1 if left == right else max(table[i][j + 1], table[i + 1][j])
            )
    return table[-1][-1]


def f_measure(first: Sequence[str], second: Sequence[str]) -> float:
    """ROUGE-L from precision and recall, where both texts have a word in common."""
    common = by_table(first, second)
    if not common:
        return 0.0
    precision, recall = common / len(first), common / len(second)
    return 2 * precision * recall / (precision + recall)


def numbered(*texts: Sequence[str]) -> list[list[int]]:
    """Return texts with the same number for the same word."""
    words = sorted({word for text in texts for word in text})
    return [[words.index(word) for word in text] for text in texts]


@pytest.mark.parametrize(
    ("first", "second", "common"),
    [
        # "police the gunman" and "police ended the gunman": Lin (2004), section 3.1.
        ("police killed the gunman", "police kill the gunman", 3),
        ("police killed the gunman", "the gunman kill police", 2),
        ("a b c d", "a b c d", 4),
        ("a b c d", "d c b a", 1),
        ("a a a", "a a", 2),
        ("a b", "", 0),
        ("x " * 200 + "a", "a " + "x " * 150, 150),
    ],
)
def test_longest_common_subsequences(first: str, second: str, common: int) -> None:
    one, other = numbered(first.split(), second.split())
    expected = 2 * common / (len(one) + len(other)) if one and other else 0.0
    assert rouge_l(one, other) == rouge_l(other, one) == expected


@given(WORDS, WORDS)
def test_the_library_says_what_the_table_says(first: list[str], second: list[str]) -> None:
    assert rouge_l(*numbered(first, second)) == pytest.approx(f_measure(first, second), rel=1e-15)


def test_the_f_measure() -> None:
    # l = 3, m = 4, n = 6: precision 3/4, recall 3/6, F = 2 * 3/8 / (5/4) = 0.6.
    one, other = numbered("a b c d".split(), "a x b y c z".split())
    assert rouge_l(one, other) == pytest.approx(0.6)
    assert rouge_l([], [1]) == rouge_l([], []) == 0.0
    assert rouge_l([1], [1]) == 1.0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't re-do it, 3 times!", ["don", "t", "re", "do", "it", "3", "times"]),
        ("snake_case A.B", ["snake", "case", "a", "b"]),
        ("Straße und ÉCOLE", ["strasse", "und", "école"]),
        ("?!", []),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert words_of(text) == words


def test_the_threshold_itself_is_too_similar() -> None:
    # 7 of 10 words in common and in order: F = 14/20 = 0.7.
    pool = SimilarityPool(0.7)
    pool.add("a b c d e f g h i j")
    assert pool.similar("a b c d e f g x y z")
    assert not pool.similar("a b c d e f x y z w")
    assert not pool.similar("g f e d c b a h i j")  # the same words in another order


def test_nothing_resembles_an_empty_pool_or_a_text_without_words() -> None:
    pool = SimilarityPool(0.7)
    assert not pool.similar("a b")
    pool.add("?!")
    assert not pool.similar("?!")
    assert len(pool) == 1
    with pytest.raises(ValueError, match="threshold"):
        SimilarityPool(0)


@given(st.lists(WORDS, max_size=8), WORDS, st.sampled_from([0.3, 0.5, 0.7, 1.0]))
def test_the_index_leaves_no_similar_text_out(
    texts: list[list[str]], new: list[str], threshold: float
) -> None:
    pool = SimilarityPool(threshold)
    for text in texts:
        pool.add(" ".join(text))
    expected = any(
        bool(new and text) and 2 * by_table(new, text) / (len(new) + len(text)) >= threshold
        for text in texts
    )
    assert pool.similar(" ".join(new)) == expected


def test_few_texts_of_a_large_pool_are_compared_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    source = random.Random(0)
    words, zipf = [f"w{n}" for n in range(3_000)], [1 / n for n in range(1, 3_001)]
    texts = [" ".join(source.choices(words, zipf, k=source.randint(5, 30))) for _ in range(3_000)]
    pool = SimilarityPool(0.7)
    for text in texts[:2_500]:
        pool.add(text)
    compared: list[int] = []

    def counted(first: Sequence[int], second: Sequence[int]) -> float:
        compared.append(1)
        return rouge_l(first, second)

    monkeypatch.setattr("iterdpo.prompts.rouge.rouge_l", counted)
    for text in texts[2_500:]:
        pool.similar(text)
    assert len(compared) < 0.001 * 500 * 2_500
