"""A list of yes/no questions about each answer, asked one by one and read from the next token.

r = sum of w · p(yes) / sum of the positive w, not below 0

over the criteria of the prompt, as in explicit aggregation of Rubrics as Rewards (arXiv 2507.17746,
section 3), with the probability p(yes) / (p(yes) + p(no)) in place of a verdict. A criterion with a
negative weight says what an answer must not do: it takes |w| · p(yes) away from the sum and adds
nothing to what the sum is divided by, so an answer that avoids it loses nothing and gains nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import Annotated, ClassVar, Literal

from iterdpo.config.types import Share
from iterdpo.conversation import RubricItem
from iterdpo.engines.base import ChoiceLogprobs, Engine, PromptTooLong
from iterdpo.judging.base import Group, Judge, answers_of, judgment
from iterdpo.judging.pairwise import Preference, preference_of
from iterdpo.judging.templates import Template
from iterdpo.models.chat_messages import Request
from iterdpo.records import (
    Candidate,
    Judgment,
    Policy,
    Prompt,
    Scored,
    Unscored,
    UnscoredReason,
    Verdict,
)
from iterdpo.settings import Keyless, Provided


@dataclass(frozen=True)
class ChecklistRubric(Template):
    """A template that has been checked. Use ``ChecklistRubric.load``."""

    kind = "a checklist's rubric"
    folder = "rubrics/checklist"
    variables = ("prompt", "response", "reference", "criterion", "yes", "no")
    needed = ("response", "criterion")
    trials = tuple(
        {"prompt": "a prompt", "response": "a response", "criterion": "Is short.", "yes": "Yes",
         "no": "No", "reference": reference}
        for reference in (None, "an answer")
    )  # fmt: skip

    def render(self, prompt: Prompt, response: str, criterion: str, yes: str, no: str) -> str:
        """Return the text that asks whether ``response`` meets a criterion.

        Raises:
            UserError: the template fails on these values.
        """
        return self._render(
            prompt=prompt.text,
            response=response,
            reference=prompt.reference,
            criterion=criterion,
            yes=yes,
            no=no,
        )


@dataclass(frozen=True, kw_only=True)
class Checklist(Judge):
    """Asks a policy, through an engine, whether an answer meets each of several criteria.

    Nothing is written: one token is read a criterion. An answer of which one could not be read is
    unscored, for its criterion would count as unmet.
    """

    name: ClassVar[str] = "checklist"
    version: ClassVar[int] = 1
    asks_policy: ClassVar[bool] = True

    model: Annotated[
        Literal["current", "initial"],
        Keyless("enters as the judge's own key: nothing differs before M2"),
    ]
    """``current``: the policy of the iteration judges its own answers. ``initial``: always M0."""
    rubric: Annotated[str, Keyless("counts by its text")]
    """``criterion``, or a path to a Jinja file."""
    criteria: tuple[RubricItem, ...] = ()
    """What is asked where a prompt has no rubric of its own (``prompts.rubric``): each a ``text``
    and a ``weight``, negative for what an answer must not do."""
    yes: str = "Yes"
    """One token of the model's vocabulary."""
    no: str = "No"
    min_mass: Share
    """With less probability on the two together, a criterion is not read."""
    system: str | None
    """System message put before every request."""

    engine: Provided[Engine]

    def __post_init__(self) -> None:
        if self.yes == self.no:
            raise ValueError(f"no={self.no}: must differ from yes={self.yes}")
        for item in self.criteria:
            if not math.isfinite(item.weight) or not item.weight:
                said = f"{item.text}: the weight {item.weight:g}; it needs a number other than 0"
                raise ValueError(f"criteria: {said}")
        if self.criteria and not any(item.weight > 0 for item in self.criteria):
            raise ValueError("criteria: none has a weight above 0, so no answer could have a score")

    @property
    def content(self) -> Mapping[str, object]:
        return {"rubric": self._rubric.sha256, "engine": dict(self.engine.identity)}

    @property
    def shard_rows(self) -> int:
        return max(1, self.engine.shard_rows // max(1, len(self.criteria)))

    @property
    def streams(self) -> bool:
        return self.engine.streams

    @property
    def scale(self) -> tuple[float, float]:
        return 0.0, 1.0

    @property
    def judged_by(self) -> Literal["current", "initial"]:
        return self.model

    def judge(self, groups: Iterable[Group], policy: Policy) -> Iterator[Judgment]:
        asked = [
            (prompt, candidate, self._criteria(prompt)) for prompt, candidate in answers_of(groups)
        ]
        # Criterion by criterion of one answer: what they share stays in an engine's prefix cache.
        requests = [
            Request.of(
                self._rubric.render(prompt, candidate.text, item.text, self.yes, self.no),
                self.system,
            )
            for prompt, candidate, criteria in asked
            for item in criteria
        ]
        answers = enumerate(self.engine.choice_logprobs(requests, (self.yes, self.no), policy))
        for _, candidate, criteria in asked:
            read = [self._read(*next(answers)) for _ in criteria]
            yield self._judgment(candidate, criteria, read, policy)

    @cached_property
    def _rubric(self) -> ChecklistRubric:
        return ChecklistRubric.load(self.rubric)

    def _criteria(self, prompt: Prompt) -> Sequence[RubricItem]:
        """Return what is asked about answers to a prompt; nothing where no score could be."""
        criteria = prompt.rubric or self.criteria
        return criteria if any(item.weight > 0 for item in criteria) else ()

    def _read(self, asked: int, answer: ChoiceLogprobs | PromptTooLong) -> Preference | Unscored:
        # A criterion that is met by another answer would be noise that nobody sees.
        if answer.request != asked:
            raise RuntimeError(
                f"the engine answered request {answer.request} where {asked} was due"
            )
        if isinstance(answer, PromptTooLong):
            said = f"{answer.tokens} tokens, at most {answer.limit}"
            return Unscored(UnscoredReason.PROMPT_TOO_LONG, said)
        found = preference_of(answer.logprobs)
        if found is None or found.mass < self.min_mass:
            return Unscored(UnscoredReason.NO_MASS, repr(answer.logprobs))
        return found

    def _judgment(
        self,
        candidate: Candidate,
        criteria: Sequence[RubricItem],
        read: Sequence[Preference | Unscored],
        policy: Policy,
    ) -> Judgment:
        met = [item for item in read if isinstance(item, Preference)]
        unread = [item for item in read if isinstance(item, Unscored)]
        verdict: Verdict
        if not criteria:
            said = "no criterion with a weight above 0: neither of the prompt nor judge.criteria"
            verdict = Unscored(UnscoredReason.NO_VERDICT, said)
        elif unread:
            verdict = unread[0]
        else:
            verdict = Scored(weighted_share([item.first for item in met], criteria))
        raw = [
            f"{_shown(one)} (weight {item.weight:g}): {item.text}"
            for item, one in zip(criteria, read, strict=True)
        ]
        mass = fmean(item.mass for item in met) if met else None
        return judgment(candidate, policy.fingerprint, verdict, raw=raw, mass=mass)


def weighted_share(met: Sequence[float], criteria: Sequence[RubricItem]) -> float:
    """Return sum of w · p(yes) / sum of the positive w, from 0 to 1.

    Args:
        met: the probability of yes to each criterion, in [0, 1]. Shape (K,).
        criteria: of which at least one has a weight above 0.
    """
    gained = math.fsum(item.weight * share for item, share in zip(criteria, met, strict=True))
    most = math.fsum(item.weight for item in criteria if item.weight > 0)
    return min(max(gained / most, 0.0), 1.0)


def _shown(read: Preference | Unscored) -> str:
    return read.reason.value if isinstance(read, Unscored) else f"{read.first:.4f}"
