"""Texts that somebody gave: cut into the loop's, the evaluation's and the judge's by a hash."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property

from iterdpo.errors import UserError
from iterdpo.prompts.base import folded
from iterdpo.prompts.pool import Pool
from iterdpo.records import Prompt


class TextPool(ABC):
    """Three sets of texts that never share one: what files and datasets of prompts have in common.

    Whether a text is for the loop, evaluation or the judge reference set is decided by a hash of
    it alone, so it stays where it is when others are added or removed. Texts that differ only in
    case, white space or Unicode form go to the same set.
    """

    def __init__(self, sources: Mapping[str, str], name: str, held_out_share: float) -> None:
        """Take the texts.

        Args:
            sources: Each text and where it came from.
            name: What messages call the whole.
            held_out_share: Share of the texts that the loop never sees, in (0, 1); one half is
                for evaluation, the other for the judge reference set.
        """
        require_share(held_out_share)
        self.sources, self.name, self.held_out_share = dict(sources), name, held_out_share

    @property
    @abstractmethod
    def identity(self) -> Mapping[str, object]:
        """Everything that decides which prompts are returned and how named, as plain JSON."""

    def loop(self, iteration: int, count: int, seed: int) -> list[Prompt]:
        """Return the new prompts of an iteration, as ``PromptSource`` says."""
        return self._pools["loop"].iteration(iteration, count, seed)

    def evaluation(self, count: int, seed: int) -> list[Prompt]:
        """Return up to ``count`` held-out prompts, on which writers are measured."""
        return self._pools["evaluation"].first(count, seed)

    def judge_reference(self, count: int, seed: int) -> list[Prompt]:
        """Return up to ``count`` held-out prompts, on whose answers judges are measured."""
        return self._pools["judge_reference"].first(count, seed)

    @property
    def held_out(self) -> tuple[str, ...]:
        """Every text of the two sets that the loop never sees."""
        return (*self.texts("evaluation"), *self.texts("judge_reference"))

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """All prompts of the three sets, in the order given."""
        return tuple(Prompt.of(text, source) for text, source in self.sources.items())

    def texts(self, purpose: str) -> tuple[str, ...]:
        """Return all texts of ``loop``, ``evaluation`` or ``judge_reference``, in their order."""
        return self._pools[purpose].texts

    @cached_property
    def _pools(self) -> Mapping[str, Pool]:
        members: dict[str, list[str]] = {"loop": [], "evaluation": [], "judge_reference": []}
        for text in self.sources:
            members[split_of(text, self.held_out_share)].append(text)
        remedy = (
            f"a hash of the text puts {self.held_out_share / 2:.1%} of the texts into each of the "
            f"evaluation and judge reference sets, and {self.name} holds {len(self.sources)} "
            "texts; add prompts or change prompts.held_out_share"
        )
        return {
            name: Pool(name, tuple(texts), self.sources.__getitem__, remedy)
            for name, texts in members.items()
        }


def require_share(held_out_share: float) -> None:
    """Raise ``UserError`` unless the share lies between 0 and 1."""
    if not 0 < held_out_share < 1:
        raise UserError(f"prompts.held_out_share={held_out_share}: must be above 0 and below 1")


def split_of(text: str, held_out_share: float) -> str:
    """Return the set that a text belongs to: ``loop``, ``evaluation`` or ``judge_reference``.

    Args:
        text: Case, white space and Unicode form make no difference.
        held_out_share: Share of all texts that is not for the loop, in (0, 1); one half is for
            evaluation. With a larger share no held-out text goes back to the loop.
    """
    digest = hashlib.sha256(f"split {folded(text)}".encode()).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    if place >= held_out_share:
        return "loop"
    # A bit of its own: the sets keep their members when the share changes.
    return "evaluation" if digest[8] % 2 else "judge_reference"
