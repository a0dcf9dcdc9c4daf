from dataclasses import replace

import pytest

from iterdpo.evaluation.pairs import label_accuracy, length_ratio, margin_mean
from iterdpo.records import Pair
from tests.narrowing import present


def pair(chosen: str, rejected: str, high: float = 4, low: float = 3) -> Pair:
    return Pair("id", "p", chosen, rejected, "prompt", "yes", "no", high, low, "w", "j")


def test_label_accuracy_counts_equal_gold_half() -> None:
    gold = {"a": 5.0, "b": 2.0, "c": 2.0}
    # Right, wrong, equal: (1 + 0 + 1/2) / 3.
    pairs = [pair("a", "b"), pair("c", "a"), pair("b", "c")]
    assert present(label_accuracy(pairs, gold)).mean == pytest.approx(0.5)
    assert present(label_accuracy(pairs[:1], gold)).mean == 1
    assert label_accuracy([], gold) is None
    with pytest.raises(KeyError):
        label_accuracy([pair("a", "x")], gold)


def test_labels_of_one_prompt_count_together() -> None:
    gold = {"a": 1.0, "b": 0.0}
    right, wrong = pair("a", "b"), pair("b", "a")
    one_each = [replace(right if i % 4 else wrong, prompt_id=str(i)) for i in range(40)]
    found = present(label_accuracy(one_each, gold))
    more = present(label_accuracy(one_each * 5, gold))
    assert (found.mean, found.n, found.clusters) == (0.75, 40, 40)
    assert (more.low, more.high) == pytest.approx((found.low, found.high))
    assert more.clusters == 40


def test_margin_mean() -> None:
    assert margin_mean([pair("a", "b", 5, 2), pair("a", "b", 4, 3)]) == 2
    assert margin_mean([]) is None


def test_length_ratio_is_of_means() -> None:
    tokens = {"a": 10, "b": 1, "c": 2, "d": 3}
    # (10 + 2) / (1 + 3) = 3, where the mean of the ratios would be (10 + 2/3) / 2.
    assert length_ratio([pair("a", "b"), pair("c", "d")], tokens) == 3
    assert length_ratio([], tokens) is None
    assert length_ratio([pair("a", "z")], {"a": 1, "z": 0}) is None
