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


def rouge_l(first: Sequence[int], second: Sequence[int]) -> float:
    """Return the F-measure of two texts' words, in [0, 1]; 0 where one has none.

    Args:
        first: each word's number, 0 or more. Of other elements than integers the library compares
            hashes, which could be equal by chance.
        second: likewise.
    """
    from rapidfuzz.distance import LCSseq

    if not first or not second:
        return 0.0
    return 2 * LCSseq.similarity(first, second) / (len(first) + len(second))


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
        self._numbers: dict[str, int] = {}
        self._texts: list[list[int]] = []
        self._lengths = array("q")
        self._index: defaultdict[tuple[int, int], array[int]] = defaultdict(lambda: array("q"))

    def __len__(self) -> int:
        return len(self._texts)

    def add(self, text: str) -> None:
        """Add a text."""
        words = self._numbered(text)
        for entry in _occurrences(words):
            self._index[entry].append(len(self._texts))
        self._texts.append(words)
        self._lengths.append(len(words))

    def similar(self, text: str) -> bool:
        """Tell whether a text's F-measure with any text of the pool reaches the threshold."""
        words = self._numbered(text)
        return any(
            rouge_l(words, self._texts[at]) >= self.threshold for at in self._candidates(words)
        )

    def _numbered(self, text: str) -> list[int]:
        """Return the number of each word of a text, the same for the same word."""
        return [self._numbers.setdefault(word, len(self._numbers)) for word in words_of(text)]

    def _candidates(self, words: Sequence[int]) -> list[int]:
        """Return the texts that share enough words to be similar, whatever their order."""
        import numpy as np

        found = [self._index[entry] for entry in _occurrences(words) if entry in self._index]
        if not found:
            return []
        shared = np.bincount(
            np.concatenate([np.frombuffer(texts, dtype=np.int64) for texts in found]),
            minlength=len(self._texts),
        )
        lengths = len(words) + np.frombuffer(self._lengths, dtype=np.int64)
        # The same division as in the exact test: what it would let through is never left out.
        return [int(at) for at in np.flatnonzero(2 * shared / lengths >= self.threshold)]


def _occurrences(words: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield each word with the number of times that it has come before."""
    seen: Counter[int] = Counter()
    for word in words:
        yield word, seen[word]
        seen[word] += 1
