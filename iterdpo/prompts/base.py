"""What a source of prompts is, and the arithmetic that every source shares.

Order comes from hashes of the texts, not from a random generator, so it is the same in every
version of Python and does not depend on the order in which the texts were read.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import ClassVar

from iterdpo.data.values import excerpt
from iterdpo.errors import UserError
from iterdpo.records import Prompt


class PromptSource(ABC):
    """A supply of instructions in three sets that never share a text.

    A choice is a frozen dataclass of its settings. What its settings name rather than hold, such as
    a file, is read when it is first asked for, and counts by its ``content`` (see
    ``settings.identity``).
    """

    name: ClassVar[str]
    """Of ours: what keys call it, whatever becomes of the class's own name."""
    version: ClassVar[int]
    """Of ours: raised when the same settings would give other prompts than before."""
    of_pairs: ClassVar[bool] = False
    """Whether its prompts are those of preference pairs, which ``pairs=dataset`` reads."""

    @property
    @abstractmethod
    def held_out(self) -> Sequence[str]:
        """Every text that ``evaluation`` and ``judge_reference`` may return, which the loop never
        sees.
        """

    @abstractmethod
    def loop(self, iteration: int, count: int, seed: int) -> list[Prompt]:
        """Return the new prompts of an iteration.

        Args:
            iteration: From 1.
            count: How many to return; fewer, with a warning, when the source holds fewer.
            seed: Fixes the order. Iterations get disjoint prompts until the source is exhausted;
                then it starts over in a new order, with a warning.

        Raises:
            UserError: when there is no prompt at all.
        """

    @abstractmethod
    def evaluation(self, count: int, seed: int) -> list[Prompt]:
        """Return up to ``count`` held-out prompts, on which writers are measured.

        Raises:
            UserError: when there is no prompt at all.
        """

    @abstractmethod
    def judge_reference(self, count: int, seed: int) -> list[Prompt]:
        """Return up to ``count`` held-out prompts, on whose answers judges are measured.

        Raises:
            UserError: when there is no prompt at all.
        """


def shuffled(texts: Iterable[str], seed: int, turn: int = 0) -> list[str]:
    """Return the distinct texts in an order that only they, ``seed`` and ``turn`` decide."""

    def place(text: str) -> bytes:
        return hashlib.sha256(json.dumps([seed, turn, text]).encode("ascii")).digest()

    return sorted(set(texts), key=place)


def iteration_slice(
    texts: Iterable[str], iteration: int, count: int, seed: int
) -> tuple[list[str], bool]:
    """Return the texts of an iteration, and whether some were in an earlier one.

    The texts are dealt out in the order of ``shuffled``, ``count`` at a time. When too few are
    left they are dealt out again in a new order, every one once in each turn; no iteration holds
    a text twice, so it is shorter than ``count`` when there are not as many texts.

    Args:
        texts: The whole supply; equal texts count once.
        iteration: From 1.
        count: Texts an iteration, at least 1.
        seed: Fixes the order.
    """
    if iteration < 1 or count < 1:
        raise ValueError(f"iteration={iteration} and count={count} must be at least 1")
    supply = sorted(set(texts))
    turn, left = 0, shuffled(supply, seed)
    dealt: list[str] = []
    repeats = False
    for _ in range(iteration):
        repeats = turn > 0 or not left
        dealt, left = left[:count], left[count:]
        if len(dealt) < count:
            turn += 1
            again = shuffled(supply, seed, turn)
            already = set(dealt)
            refill = [text for text in again if text not in already][: count - len(dealt)]
            repeats = repeats or bool(refill)
            dealt += refill
            left = [text for text in again if text not in set(refill)]
    return dealt, repeats


def texts_sha256(texts: Iterable[str]) -> str:
    """Return the sha256 of the texts and their order, as hex digits."""
    return hashlib.sha256(json.dumps(list(texts)).encode("ascii")).hexdigest()


def folded(text: str) -> str:
    """Return what two texts share that differ only in case, white space or Unicode form."""
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


def assert_held_out(loop: Sequence[Prompt], held_out: Sequence[Prompt]) -> None:
    """Refuse held-out prompts that the loop may train on.

    Texts that differ only in case, white space or Unicode form count as equal.

    Raises:
        UserError: naming how many prompts overlap and the first of them.
    """
    seen = {folded(prompt.text) for prompt in loop}
    if shared := [prompt for prompt in held_out if folded(prompt.text) in seen]:
        raise UserError(
            f"prompts: {len(shared)} of {len(held_out)} held-out prompts are among the loop's, "
            f"the first is {excerpt(shared[0].text)} ({shared[0].source}): what is measured must "
            "not be trained on, take them out of one of the two"
        )
