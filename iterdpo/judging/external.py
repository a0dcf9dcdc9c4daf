"""A checkpoint from outside the run that compares two answers, and is held only while it does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from iterdpo.engines.base import Engine
from iterdpo.judging.pairwise import Duel, PairwiseJudge
from iterdpo.records import Comparison, Policy, Prompt


class ExternalArbiter:
    """A pairwise judge on an engine of its own. Implements ``Arbiter``.

    Its engine loads the checkpoint at the first question; ``close`` lets it go. In between the
    run's engine holds no memory: it sleeps where it can, else it is shut down, and loads again (and
    proves its policies again) when it is next asked.
    """

    def __init__(self, judge: PairwiseJudge, checkpoint: Policy, others: Engine) -> None:
        """
        Args:
            judge: asks an engine that nothing else uses.
            checkpoint: the model that compares.
            others: the run's engine.
        """
        self.judge, self.checkpoint, self.others = judge, checkpoint, others
        self._open = False

    @property
    def name(self) -> str:
        return self.judge.name

    @property
    def identity(self) -> Mapping[str, object]:
        return {**self.judge.identity, "model": self.checkpoint.fingerprint}

    @property
    def shard_pairs(self) -> int:
        return self.judge.shard_pairs

    @property
    def streams(self) -> bool:
        return self.judge.streams

    def compare(
        self, prompts: Sequence[Prompt], duels: Sequence[Duel], policy: Policy | None
    ) -> Iterator[Comparison]:
        asks = any(answer.text != opponent.text for answer, opponent in duels)
        if asks and not self._open:
            self._open = True
            if not self.others.sleep():
                self.others.close()
        yield from self.judge.compare(prompts, duels, self.checkpoint)

    def close(self) -> None:
        if self._open:
            self._open = False
            self.judge.engine.close()
            self.others.wake()
