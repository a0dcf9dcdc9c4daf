"""A verifier as the judge: an answer's score is exact, and no model is asked.

Rewards of this kind are verifiable rewards (Tulu 3, arXiv 2411.15124, section 6).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar

from iterdpo.config.choices import TARGET, Choice, build, check_inside
from iterdpo.config.types import Positive
from iterdpo.judging.base import Group, Judge, answers_of, judgment
from iterdpo.records import Judgment, Policy, Scored
from iterdpo.settings import CountsElsewhere, identity
from iterdpo.verifiers.base import Verifier
from iterdpo.verifiers.process import VerifierProcess

PLACE = "judge.verifier"


@dataclass(frozen=True, kw_only=True)
class VerifierJudge(Judge):
    """Scores every answer by a verifier, from 0 to the verifier's ``perfect``.

    The verifier runs in a process of its own. What it raises, and what takes longer than
    ``seconds``, leaves that one answer unscored, with the reason.
    """

    name: ClassVar[str] = "verifier"
    version: ClassVar[int] = 1

    verifier: Annotated[Verifier | dict[str, Any], CountsElsewhere("by what it is")]
    """A class with its settings, as under ``evaluation.oracle``; in Python, an object of it."""
    seconds: Positive = 5.0
    """The longest that one answer may take."""

    def __post_init__(self) -> None:
        made = self.verifier
        if not isinstance(made, Verifier):
            made = check_inside(PLACE, made)
        if not 0 < made.perfect < math.inf:
            raise ValueError(
                f"verifier: {type(made).__name__} has perfect={made.perfect}; its highest score "
                "must be a number above 0"
            )

    @property
    def content(self) -> Mapping[str, object]:
        return {"verifier": identity(self._verifier)}

    @property
    def streams(self) -> bool:
        return True

    @property
    def scale(self) -> tuple[float, float]:
        return 0.0, self._verifier.perfect

    def judge(self, groups: Iterable[Group], policy: Policy) -> Iterator[Judgment]:
        name = self.fingerprint
        for prompt, candidate in answers_of(groups):
            verdict = self._process.verdict(prompt, candidate.text)
            said = str(verdict.score) if isinstance(verdict, Scored) else verdict.raw
            yield judgment(candidate, name, verdict, raw=(said,))

    def close(self) -> None:
        self._process.close()

    @cached_property
    def _verifier(self) -> Verifier:
        if isinstance(self.verifier, Verifier):
            return self.verifier
        settings = {name: value for name, value in self.verifier.items() if name != TARGET}
        made: Verifier = build(PLACE, Choice(self.verifier[TARGET], settings))
        return made

    @cached_property
    def _process(self) -> VerifierProcess:
        return VerifierProcess(self._verifier, self.seconds, PLACE)
