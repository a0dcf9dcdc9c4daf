"""Which instructions to compare models on, and what a run has already done with each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Protocol

from iterdpo.config.choices import TARGET
from iterdpo.errors import UserError
from iterdpo.prompts.base import folded
from iterdpo.prompts.file import read_file
from iterdpo.records import Prompt
from iterdpo.runs.directory import Run

PAIRS: Final = "iterdpo.prompts.pairs.PairsPrompts"
Seen = Literal["never", "evaluation", "training"]
"""What a run did with a text: nothing; measured models on it; trained on it."""


@dataclass(frozen=True)
class History:
    """The texts that runs have seen. Those that differ only in case, white space or Unicode form
    are one.
    """

    seen: Mapping[str, Seen]

    @classmethod
    def of(cls, runs: Sequence[Run]) -> History:
        """Read it from the records of the runs; training outweighs evaluation."""
        seen: dict[str, Seen] = {}
        for run in runs:
            stages = run.models[0].stages
            for stage in (stages.held_out, stages.reference_prompts):
                for prompt in run.records(stage, Prompt):
                    seen.setdefault(folded(prompt.text), "evaluation")
        for run in runs:
            for made in run.summary.iterations:
                for prompt in run.records(made.stages.prompts, Prompt):
                    seen[folded(prompt.text)] = "training"
        return cls(seen)

    def __getitem__(self, text: str) -> Seen:
        return self.seen.get(folded(text), "never")


class Supply(Protocol):
    """Held-out prompts, as a ``PromptSource`` gives them."""

    def evaluation(self, count: int, seed: int) -> Sequence[Prompt]:
        """Return up to ``count`` of one set."""

    def judge_reference(self, count: int, seed: int) -> Sequence[Prompt]:
        """Return up to ``count`` of the other."""


@dataclass(frozen=True)
class Recorded:
    """The held-out prompts that a run kept: a ``Supply`` where its source is not to be asked."""

    run: Run

    def evaluation(self, count: int, seed: int) -> Sequence[Prompt]:
        return self.run.records(self.run.models[0].stages.held_out, Prompt)[:count]

    def judge_reference(self, count: int, seed: int) -> Sequence[Prompt]:
        return self.run.records(self.run.models[0].stages.reference_prompts, Prompt)[:count]


def supply(run: Run) -> Supply:
    """Return where a run's held-out prompts come from: its source, where that is one of ours and
    reads what it needs itself. A user's class is not imported to look at what a run made.
    """
    from iterdpo.assemble import make_prompts

    target = str(run.values["prompts"][TARGET])
    if not target.startswith("iterdpo.") or target == PAIRS:
        return Recorded(run)
    return make_prompts(run.config)


def held_out(source: Supply, history: History, count: int, seed: int) -> list[Prompt]:
    """Return up to ``count`` of a source's held-out prompts, those that no run has seen first.

    Where too few were never seen, those follow that models were only measured on. None was
    trained on.

    Raises:
        UserError: there is none.
    """
    # A source deals the same order every time: so many more reach beyond what the runs took.
    reach = count + sum(seen == "evaluation" for seen in history.seen.values())
    supply = [*source.evaluation(reach, seed), *source.judge_reference(reach, seed)]
    usable = [prompt for prompt in supply if history[prompt.text] != "training"]
    if not usable:
        raise UserError(
            "prompts: every held-out prompt of the run's source was trained on; name a file of "
            "others, --prompts FILE"
        )
    never_first = sorted(usable, key=lambda prompt: history[prompt.text] != "never")
    return never_first[:count]


def from_file(path: Path, field: str) -> list[Prompt]:
    """Return the prompts of a user's file, in its order.

    Raises:
        UserError: it cannot be read, or holds none.
    """
    return list({prompt.id: prompt for prompt in read_file(str(path), field)}.values())
