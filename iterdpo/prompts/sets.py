"""One of three disjoint sets, dealt out as prompts: what every source is behind its reading."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from iterdpo.errors import UserError
from iterdpo.prompts.base import iteration_slice, shuffled
from iterdpo.records import Prompt

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PromptSet:
    """One of a source's sets."""

    name: str
    """``loop``, ``evaluation`` or ``judge_reference``."""
    keys: tuple[str, ...]
    """What its prompts are told apart by and their order is made from: their texts, as a rule."""
    prompt_of: Callable[[str], Prompt]
    """The prompt of a key."""
    remedy: str
    """What a user can do when the set is empty."""

    @property
    def set_name(self) -> str:
        """What messages call it: ``judge reference set``."""
        return f"{self.name.replace('_', ' ')} set"

    def iteration(self, iteration: int, count: int, seed: int) -> list[Prompt]:
        """Return the set's prompts for an iteration of the loop, as ``PromptSource.loop`` says."""
        self._require_some(count)
        keys, repeats = iteration_slice(self.keys, iteration, count, seed)
        if repeats:
            log.warning(
                "prompts: iteration %d takes prompts that earlier iterations had: there are %d, "
                "and %d an iteration were asked for; add prompts or lower prompts.per_iteration",
                iteration, len(self.keys), count,
            )  # fmt: skip
        return [self.prompt_of(key) for key in keys]

    def first(self, count: int, seed: int) -> list[Prompt]:
        """Return up to ``count`` prompts: the same for the same seed, the more the longer."""
        self._require_some(count)
        return [self.prompt_of(key) for key in shuffled(self.keys, seed)[:count]]

    def _require_some(self, count: int) -> None:
        if not self.keys:
            raise UserError(f"prompts: there is none for the {self.set_name}: {self.remedy}")
        if len(self.keys) < count:
            log.warning(
                "prompts: the %s has %d, fewer than the %d asked for; continuing with these",
                self.set_name, len(self.keys), count,
            )  # fmt: skip
