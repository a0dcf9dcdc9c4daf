"""What the loop asks of anything that can judge: a policy, a reward model, an oracle, people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from iterdpo.records import Candidate, Judgment, Policy, Prompt


class Judge(Protocol):
    """Scores candidates one by one."""

    @property
    def identity(self) -> Mapping[str, object]:
        """What of this judge may change its judgments, as JSON: part of their key."""

    def judge(
        self, prompts: Sequence[Prompt], candidates: Sequence[Candidate], policy: Policy
    ) -> Iterator[Judgment]:
        """Yield one judgment a candidate, in the order of ``candidates``, as they are ready.

        Args:
            prompts: at least the prompts of the candidates.
            candidates: the answers to judge.
            policy: the model that judges, where the judge is a model of the run.

        Raises:
            ValueError: a candidate's prompt is not among ``prompts``.
        """
