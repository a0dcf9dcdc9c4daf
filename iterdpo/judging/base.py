"""What the loop asks of anything that can judge: a policy, a reward model, an oracle, people."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from iterdpo.records import (
    Candidate,
    Judgment,
    Policy,
    Prompt,
    Verdict,
    judge_fingerprint,
    record_id,
)
from iterdpo.settings import identity
from iterdpo.store.hashing import plain


@dataclass(frozen=True, slots=True)
class Group:
    """Answers to one prompt that a judge gets together."""

    prompt: Prompt
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class SftRubric:
    """How verdicts with reasons are asked for, where a policy can learn to give them."""

    rubric: str
    """A packaged rubric's name, or a file's path."""
    low: int
    high: int
    system: str | None


class Judge(ABC):
    """Scores candidates: a frozen dataclass of its settings.

    A subclass overrides what it has something to say of; most of one's own need no more than
    ``judging.PromptJudge``. ``settings.identity`` says what of it enters keys.
    """

    name: ClassVar[str]
    """Of ours: what keys and records call it, whatever becomes of the class's own name."""
    version: ClassVar[int]
    """Of ours: raised when the same settings would judge otherwise than before."""
    asks_policy: ClassVar[bool] = False
    """Whether the policy that it is given is the one that judges, and is named as the judge."""

    @property
    def by_prompt(self) -> bool:
        """Whether it compares the answers to a prompt, and so must get them all in one group."""
        return False

    @property
    def shard_rows(self) -> int:
        """How many answers a caller should ask for and keep together, 1 or more."""
        return 256

    @property
    def streams(self) -> bool:
        """Whether a judgment does not depend on the call it is in: then a caller should ask for
        everything at once and keep the judgments shard by shard as they come.
        """
        return False

    @property
    def holds_model(self) -> bool:
        """Whether it loads a model of its own, for which the engine should make room."""
        return False

    @property
    def counts(self) -> Mapping[str, float]:
        """What it has counted since it was made, by name: money, comparisons, order flips."""
        return {}

    @property
    def scale(self) -> tuple[float, float] | None:
        """The lowest and the highest score; None where scores have no bounds."""
        return None

    @property
    def judged_by(self) -> Literal["current", "initial"]:
        """Which policy it is given in an iteration: the current one, or M0."""
        return "initial"

    @property
    def sft_rubric(self) -> SftRubric | None:
        """How it asks for verdicts that a policy can learn to give; None where it asks for none."""
        return None

    @property
    def fingerprint(self) -> str:
        """What judgments name as their judge, where a policy's fingerprint stands otherwise."""
        known: Any = plain(identity(self))
        return judge_fingerprint(known)

    def prepare(self) -> None:
        """Check, once before a run, that what the settings name is there. Nothing heavy is loaded.

        By itself it looks at all that is in the judge's keys: rubrics, checkpoints, labels.

        Raises:
            UserError: something is missing, or a class of one's own cannot be told from others.
        """
        identity(self)

    @abstractmethod
    def judge(self, groups: Iterable[Group], policy: Policy) -> Iterator[Judgment]:
        """Yield one judgment a candidate, in the order of the groups, as they are ready.

        Args:
            groups: the answers to judge: all answers to a prompt in one group where ``by_prompt``,
                else one answer each.
            policy: the model that judges, where the judge is a model of the run.
        """

    def close(self) -> None:
        """Release what only judging needs. A later call would take it again."""
        return


def answers_of(groups: Iterable[Group]) -> list[tuple[Prompt, Candidate]]:
    """Return every candidate with its prompt, in the order of the groups."""
    return [(group.prompt, candidate) for group in groups for candidate in group.candidates]


def judgment(
    candidate: Candidate,
    judge: str,
    verdict: Verdict,
    *,
    raw: Sequence[str] = (),
    distribution: tuple[float, ...] = (),
    mass: float | None = None,
) -> Judgment:
    """Return the record of a verdict, named by what the judge said.

    Args:
        candidate: what was judged.
        judge: fingerprint of who judged.
        verdict: the score, or why there is none.
        raw: the judge's own texts, or what it read off a model in words.
        distribution: probabilities of the scores low to high, when read from the logits.
        mass: what those held together before renormalizing, in [0, 1].
    """
    said = "\n".join(raw) if raw else repr(distribution)
    return Judgment(
        id=record_id("judgment", (candidate.id, judge), 0, said),
        candidate_id=candidate.id,
        prompt_id=candidate.prompt_id,
        judge=judge,
        verdict=verdict,
        raw=tuple(raw),
        distribution=distribution,
        mass=mass,
    )
