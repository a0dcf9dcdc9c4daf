"""The lab's instructions as a source of prompts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from iterdpo.prompts.base import PromptSource, texts_sha256
from iterdpo.prompts.sets import PromptSet
from iterdpo.records import Prompt

if TYPE_CHECKING:
    from iterdpo.lab.splits import Split


@dataclass(frozen=True)
class LabPrompts(PromptSource):
    """Instructions of the lab's grammar, split by hash; the seed model's own are never used."""

    name: ClassVar[str] = "lab"
    version: ClassVar[int] = 1

    @cached_property
    def content(self) -> Mapping[str, object]:
        """The texts themselves: a change of the grammar or of a split changes the hash."""
        splits: tuple[Split, ...] = ("loop", "evaluation", "judge")
        return {split: texts_sha256(_set(split, split).keys) for split in splits}

    @property
    def held_out(self) -> tuple[str, ...]:
        """Every text of the two sets that the loop never sees."""
        return (*_set("evaluation", "evaluation").keys, *_set("judge_reference", "judge").keys)

    def loop(self, iteration: int, count: int, seed: int) -> list[Prompt]:
        """Return the new prompts of an iteration, as ``PromptSource`` says."""
        return _set("loop", "loop").iteration(iteration, count, seed)

    def evaluation(self, count: int, seed: int) -> list[Prompt]:
        """Return up to ``count`` held-out prompts, on which writers are measured."""
        return _set("evaluation", "evaluation").first(count, seed)

    def judge_reference(self, count: int, seed: int) -> list[Prompt]:
        """Return up to ``count`` held-out prompts, on whose answers judges are measured."""
        return _set("judge_reference", "judge").first(count, seed)


def _set(name: str, split: Split) -> PromptSet:
    from iterdpo.lab.splits import instructions

    texts = tuple(instructions(split))
    return PromptSet(
        name, texts, lambda text: Prompt.of(text, "lab"), "the lab's grammar is broken"
    )
