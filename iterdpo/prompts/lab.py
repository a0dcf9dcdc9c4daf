"""The lab's instructions as a source of prompts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from iterdpo.prompts.base import texts_sha256
from iterdpo.prompts.pool import Pool
from iterdpo.records import Prompt

if TYPE_CHECKING:
    from iterdpo.lab.splits import Split


class LabPrompts:
    """Instructions of the lab's grammar, split by hash; the seed model's own are never used."""

    @property
    def identity(self) -> Mapping[str, object]:
        """The texts themselves: a change of the grammar or of a split changes the hash."""
        splits: tuple[Split, ...] = ("loop", "evaluation", "judge")
        return {
            "source": "lab",
            **{split: texts_sha256(_pool(split, split).texts) for split in splits},
        }

    @property
    def held_out(self) -> tuple[str, ...]:
        """Every text of the two sets that the loop never sees."""
        return (*_pool("evaluation", "evaluation").texts, *_pool("judge_reference", "judge").texts)

    def loop(self, iteration: int, count: int, seed: int) -> list[Prompt]:
        """Return the new prompts of an iteration, as ``PromptSource`` says."""
        return _pool("loop", "loop").iteration(iteration, count, seed)

    def evaluation(self, count: int, seed: int) -> list[Prompt]:
        """Return up to ``count`` held-out prompts, on which writers are measured."""
        return _pool("evaluation", "evaluation").first(count, seed)

    def judge_reference(self, count: int, seed: int) -> list[Prompt]:
        """Return up to ``count`` held-out prompts, on whose answers judges are measured."""
        return _pool("judge_reference", "judge").first(count, seed)


def _pool(name: str, split: Split) -> Pool:
    from iterdpo.lab.splits import instructions

    return Pool(name, tuple(instructions(split)), lambda _: "lab", "the lab's grammar is broken")
