"""ROUGE-L between instructions: near-duplicates found in a large pool, exactly and fast.

ROUGE-L (Lin, 2004) is the F-measure of the longest common subsequence of two texts' words. With
lengths m and n and a longest common subsequence of l words, precision l/m and recall l/n give

    F = 2 l / (m + n).

Comparing every new instruction with every one in the pool would take minutes. But l is at most the
number of words that two texts share, counted with repetition, and that number comes for the whole
pool at once from an index. Only the few texts whose bound reaches the threshold are compared.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

_WORD = re.compile(r"[^\W_]+")


def words_of(text: str) -> list[str]:
    """Return the words that are compared: runs of letters and digits, case folded.

    On ASCII these are the words of the ``rouge_score`` package without stemming, which
    Self-Instruct uses; letters outside ASCII, at which that package splits, are letters here.
    """
    return _WORD.findall(text.casefold())


def lcs_length(first: Sequence[str], second: Sequence[str]) -> int:
    """Return the length of the longest common subsequence, 0 or more.

    Bit-parallel: one integer holds a row of the dynamic program, a bit a word of ``first`` (Hyyrö,
    Bit-parallel LCS-length computation revisited, 2004), so a row costs four operations.
    """
    places: defaultdict[str, int] = defaultdict(int)
    for place, word in enumerate(first):
        places[word] |= 1 << place
    full = (1 << len(first)) - 1
    row = full
    for word in second:
        matched = row & places.get(word, 0)
        row = ((row + matched) | (row - matched)) & full
    return len(first) - row.bit_count()


def rouge_l(first: Sequence[str], second: Sequence[str]) -> float:
    """Return the F-measure of two texts' words, in [0, 1]; 0 where one has none."""
    if not first or not second:
        return 0.0
    return 2 * lcs_length(first, second) / (len(first) + len(second))


class SimilarityPool:
    """Texts to which new ones are compared.

    The index maps the k-th occurrence of a word to the texts that have it, so that the number of
    entries that two texts share is the number of words they share, counted with repetition.
    """

    def __init__(self, threshold: float) -> None:
        """``threshold``: the F-measure, in (0, 1], from which on two texts are too similar."""
        if not 0 < threshold <= 1:
            raise ValueError(f"threshold={threshold} must be in (0, 1]")
        self.threshold = threshold
        self._words: list[list[str]] = []
        self._lengths = array("q")
        self._index: defaultdict[tuple[str, int], array[int]] = defaultdict(lambda: array("q"))

    def __len__(self) -> int:
        return len(self._words)

    def add(self, text: str) -> None:
        """Add a text."""
        words = words_of(text)
        for entry in _occurrences(words):
            self._index[entry].append(len(self._words))
        self._words.append(words)
        self._lengths.append(len(words))

    def similar(self, text: str) -> bool:
        """Tell whether a text's F-measure with any text of the pool reaches the threshold."""
        words = words_of(text)
        return any(
            2 * lcs_length(words, self._words[number]) / (len(words) + len(self._words[number]))
            >= self.threshold
            for number in self._candidates(words)
        )

    def _candidates(self, words: Sequence[str]) -> list[int]:
        """Return the texts that share enough words to be similar, whatever their order."""
        import numpy as np

        found = [self._index[entry] for entry in _occurrences(words) if entry in self._index]
        if not found:
            return []
        shared = np.bincount(
            np.concatenate([np.frombuffer(texts, dtype=np.int64) for texts in found]),
            minlength=len(self._words),
        )
        lengths = len(words) + np.frombuffer(self._lengths, dtype=np.int64)
        # The same division as in the exact test: what it would let through is never left out.
        numbers = np.flatnonzero(2 * shared / lengths >= self.threshold)
        return [int(number) for number in numbers]


def _occurrences(words: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Yield each word with the number of times that it has come before."""
    seen: Counter[str] = Counter()
    for word in words:
        yield word, seen[word]
        seen[word] += 1
