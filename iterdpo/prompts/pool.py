"""Three disjoint sets of texts, dealt out as prompts: what every source is behind its reading."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from iterdpo.errors import UserError
from iterdpo.prompts.base import iteration_slice, shuffled
from iterdpo.records import Prompt

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pool:
    """One of a source's sets."""

    name: str
    """``loop``, ``evaluation`` or ``judge_reference``."""
    texts: tuple[str, ...]
    source_of: Callable[[str], str]
    """Where a text came from, for ``Prompt.source``."""
    remedy: str
    """What a user can do when the set is empty."""

    @property
    def set_name(self) -> str:
        """What messages call it: ``judge reference set``."""
        return f"{self.name.replace('_', ' ')} set"

    def iteration(self, iteration: int, count: int, seed: int) -> list[Prompt]:
        """Return the set's prompts for an iteration of the loop, as ``PromptSource.loop`` says."""
        self._require_some(count)
        texts, repeats = iteration_slice(self.texts, iteration, count, seed)
        if repeats:
            log.warning(
                "prompts: iteration %d takes prompts that earlier iterations had: there are %d, "
                "and %d an iteration were asked for; add prompts or lower prompts.per_iteration",
                iteration, len(self.texts), count,
            )  # fmt: skip
        return self._prompts(texts)

    def first(self, count: int, seed: int) -> list[Prompt]:
        """Return up to ``count`` prompts: the same for the same seed, the more the longer."""
        self._require_some(count)
        return self._prompts(shuffled(self.texts, seed)[:count])

    def _require_some(self, count: int) -> None:
        if not self.texts:
            raise UserError(f"prompts: there is none for the {self.set_name}: {self.remedy}")
        if len(self.texts) < count:
            log.warning(
                "prompts: the %s has %d, fewer than the %d asked for; continuing with these",
                self.set_name, len(self.texts), count,
            )  # fmt: skip

    def _prompts(self, texts: Iterable[str]) -> list[Prompt]:
        return [Prompt.of(text, self.source_of(text)) for text in texts]
