"""Prompts that M0 writes itself, after examples that somebody gave."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from iterdpo.config.types import Count, NonNegative, Source, checked
from iterdpo.data.source import RowSource
from iterdpo.prompts.dataset import read_dataset
from iterdpo.prompts.file import read_file, require_file
from iterdpo.prompts.instruction_filter import Rules
from iterdpo.prompts.mapping import PromptMapping
from iterdpo.prompts.pool import BY_CONTENT, HeldOutShare, PromptPool
from iterdpo.records import Prompt
from iterdpo.settings import CountsElsewhere, Keyless


@checked
@dataclass(frozen=True, kw_only=True)
class Writing(Rules):
    """How M0 writes new instructions after examples (arXiv 2212.10560, 2401.10020)."""

    shots: Count
    """Examples in each request."""
    written_shots: Annotated[int, Field(ge=0)]
    """Of these, how many were written by M0 itself, once there are as many."""
    asked: Count
    """New instructions that a request asks for."""
    temperature: NonNegative
    top_p: Annotated[float, Field(gt=0, le=1)]
    max_tokens: Count
    """Longest answer to a request; the instruction that it is cut off in is dropped."""
    max_tries: Annotated[
        Annotated[float, Field(ge=1)],
        # A round is what the rounds before it make it: this says only whether another is begun.
        Keyless("stops a run, changes none"),
    ]
    """After how many requests an iteration gives up, as a multiple of the fewest that could do. The
    round at hand is finished."""


@dataclass(frozen=True, kw_only=True)
class SelfInstructPrompts(PromptPool):
    """Examples after which M0 writes the loop's prompts; evaluation asks those held out."""

    name: ClassVar[str] = "self_instruct"
    version: ClassVar[int] = 1

    path: Annotated[Source, CountsElsewhere(BY_CONTENT)]
    """A file of examples; with ``dataset`` also a directory or a hub id."""
    field: Annotated[str, CountsElsewhere(BY_CONTENT)]
    """What holds the prompt."""
    held_out_share: HeldOutShare
    """Share of the examples that is kept for evaluation and never shown to M0."""
    dataset: Annotated[PromptMapping | None, CountsElsewhere(BY_CONTENT)]
    """How a dataset's rows become examples; null reads ``field`` of every row of a file."""
    self_instruct: Annotated[Writing, CountsElsewhere("in the key of what is written")]

    def __post_init__(self) -> None:
        if self.dataset is None:
            require_file(self.path)
        writing, key = self.self_instruct, "self_instruct"
        problems = []
        if writing.written_shots >= writing.shots:
            problems.append(
                f"{key}.written_shots={writing.written_shots}: must be below "
                f"prompts.{key}.shots={writing.shots}"
            )
        if writing.min_words > writing.max_words:
            problems.append(
                f"{key}.min_words={writing.min_words}: must not be above "
                f"prompts.{key}.max_words={writing.max_words}"
            )
        if problems:
            raise ValueError("\n".join(problems))

    @property
    def label(self) -> str:
        if self.dataset is None:
            return Path(self.path).name
        return RowSource(path=self.path, key="prompts.path").name

    def prompts(self) -> list[Prompt]:
        """Return every example, those that are held out included."""
        if self.dataset is None:
            return read_file(self.path, self.field)
        return read_dataset(self.path, self.field, self.dataset)
