"""One optimizer step of several processes: what each of them gives, and what all must share."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from iterdpo.training.distributed import ProcessGroup

if TYPE_CHECKING:
    import torch

    from iterdpo.training.checks import StepZero


@dataclass(frozen=True, slots=True)
class RankResult:
    """What one process has found in its share of a step."""

    loss: float
    """Sum over its micro batches, each weighted by its share of the step."""
    metrics: dict[str, list[float]]
    first_parts: list[StepZero]
    """The checks of the first step; empty after it."""
    rows: int
    """Pairs or examples side by side from here on."""
    stop: int | None
    """Number of the signal that asks to stop."""


@dataclass(slots=True)
class SharedStep:
    """The step at hand, as one process sees it."""

    digest: str = ""
    """sha256 of the token ids of all micro batches, which every process must have alike."""
    reached: int = 0
    """Micro batches that are done, whichever process they are for."""
    losses: list[float] = field(default_factory=list)
    """Of this process's micro batches, and 0 for the others."""

    @classmethod
    def of(cls, micro_batches: Iterable[Mapping[str, torch.Tensor]]) -> SharedStep:
        """Begin a step of these micro batches."""
        digest = hashlib.sha256()
        for batch in micro_batches:
            ids = batch["input_ids"].cpu()
            digest.update(repr(tuple(ids.shape)).encode())
            digest.update(ids.numpy().tobytes())
        return cls(digest.hexdigest())

    def exchange(
        self,
        peers: ProcessGroup,
        metrics: dict[str, list[float]],
        first_parts: Sequence[StepZero],
        rows: int,
        stop: int | None,
    ) -> list[RankResult]:
        """Return what every process has found, by rank; see ``RankResult`` for what is given.

        Raises:
            LineageError: the processes have read different micro batches.
            UserError: another process is gone.
        """
        peers.assert_equal_across_ranks("the training step", self.digest)
        found = RankResult(sum(self.losses), metrics, list(first_parts), rows, stop)
        return peers.gather(found)


def seed_of(seed: int, step: int, index: int) -> int:
    """Return the seed of what is random in one micro batch: 63 bits of a hash of its place.

    Args:
        seed: of the training.
        step: optimizer steps done before.
        index: of the micro batch within the step, from 0.
    """
    place = hashlib.sha256(f"{seed}:{step}:{index}".encode()).digest()
    return int.from_bytes(place[:8], "big") >> 1
