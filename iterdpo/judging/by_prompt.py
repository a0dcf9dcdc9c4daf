"""A judge of one prompt's answers at a time: what most judges of one's own derive from."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence

from iterdpo.errors import UserError
from iterdpo.judging.base import Group, Judge, judgment
from iterdpo.records import Candidate, Judgment, Policy, Prompt, Scored, Unscored, Verdict


class PromptJudge(Judge):
    """Gives verdicts on the answers to one prompt; everything else is done here.

    A subclass is a frozen dataclass of its settings, if it has any::

        @dataclass(frozen=True)
        class Brevity(PromptJudge):
            limit: int = 300

            def verdicts(self, prompt, candidates):
                return [min(0, self.limit - len(item.text)) for item in candidates]
    """

    @abstractmethod
    def verdicts(
        self, prompt: Prompt, candidates: Sequence[Candidate]
    ) -> Sequence[Verdict | float]:
        """Return one verdict an answer, in their order.

        A number is a score, which must be finite; scores of one prompt are compared with each
        other. ``Unscored`` says that there is none, and why.

        Args:
            prompt: what was answered.
            candidates: all answers to it.
        """

    @property
    def by_prompt(self) -> bool:
        return True

    def judge(self, groups: Iterable[Group], policy: Policy) -> Iterator[Judgment]:
        name = self.fingerprint
        for group in groups:
            verdicts = self._verdicts(group)
            for candidate, verdict in zip(group.candidates, verdicts, strict=True):
                said = str(verdict.score) if isinstance(verdict, Scored) else verdict.raw
                yield judgment(candidate, name, verdict, raw=(said,) if said else ())

    def _verdicts(self, group: Group) -> list[Verdict]:
        said = f"judge: {type(self).__name__}: prompt {group.prompt.id}"
        values = list(self.verdicts(group.prompt, group.candidates))
        if len(values) != len(group.candidates):
            raise UserError(
                f"{said}: {len(values)} verdicts on {len(group.candidates)} answers; return one "
                "for each, in their order"
            )
        return [
            _verdict(value, f"{said}, answer {candidate.id}")
            for value, candidate in zip(values, group.candidates, strict=True)
        ]


def _verdict(value: Verdict | float, said: str) -> Verdict:
    """Return a verdict, or the score that a number is: any that Python can make a float of."""
    if isinstance(value, Unscored):
        return value
    given: object = value.score if isinstance(value, Scored) else value
    try:
        score = math.nan if isinstance(given, str | bytes) else float(given)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError, RuntimeError):
        score = math.nan
    if not math.isfinite(score):
        shown = " ".join(repr(given).split())[:80]
        raise UserError(f"{said}: {shown} is no finite number; give one, or Unscored with a reason")
    return Scored(score)
