"""The prompts of preference pairs that somebody gave, and which of them are held out."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Annotated, ClassVar, Protocol

from iterdpo.conversation import Message
from iterdpo.data.preferences import OfflinePair
from iterdpo.data.turns import first_user_text
from iterdpo.errors import UserError
from iterdpo.prompts.base import PromptSource, folded, iteration_slice, texts_sha256
from iterdpo.prompts.conversations import prompt_of
from iterdpo.prompts.pool import HeldOutShare, split_of
from iterdpo.prompts.sets import PromptSet
from iterdpo.records import Prompt
from iterdpo.settings import CountsElsewhere, Provided

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AnsweredPrompt:
    """One conversation that answers were given to, with every pair of them."""

    prompt: Prompt
    pairs: tuple[OfflinePair, ...]
    """In the order of their rows."""


class PairRows(Protocol):
    """The rows of a dataset that are preference pairs, read when they are first asked for."""

    @property
    def name(self) -> str:
        """What messages and records call the dataset."""

    @property
    def kept(self) -> Sequence[OfflinePair]:
        """The rows to train on, those held out included."""

    @property
    def held_out(self) -> Sequence[OfflinePair] | None:
        """Rows of a split of their own: their openings are held out, and pairs with the same
        opening left out of the loop. None holds out a share of ``kept``.
        """


@dataclass(frozen=True)
class Rows:
    """Rows that are at hand, as ``PairRows``."""

    name: str
    kept: Sequence[OfflinePair]
    held_out: Sequence[OfflinePair] | None
    """Empty where nothing is held out, because evaluation asks other prompts."""


@dataclass(frozen=True, kw_only=True)
class PairsPrompts(PromptSource):
    """The prompts of preference pairs: conversations for the loop, their openings for evaluation.

    What the user says first, the opening, decides by its hash where a conversation belongs, so that
    no opening that is evaluated begins one that is trained on.
    """

    name: ClassVar[str] = "pairs"
    version: ClassVar[int] = 2
    of_pairs: ClassVar[bool] = True

    held_out_share: Annotated[HeldOutShare, CountsElsewhere("what it holds out")]
    """Share of the openings that is kept for evaluation and never trained on."""
    pairs: Provided[PairRows]

    @property
    def label(self) -> str:
        """What messages and records call the source."""
        return self.pairs.name

    @property
    def content(self) -> Mapping[str, object]:
        return {"pairs": self.label, "sha256": self.sha256}

    @cached_property
    def asked(self) -> Mapping[str, AnsweredPrompt]:
        """Every conversation of the loop by the id of its prompt.

        Raises:
            UserError: no pair is left for the loop.
        """
        kept = {folded(text) for openings in self._openings.values() for text in openings}
        grouped: dict[tuple[Message, ...], list[OfflinePair]] = {}
        for pair in self.pairs.kept:
            if folded(first_user_text(pair.prompt, pair.row)) not in kept:
                grouped.setdefault(pair.prompt, []).append(pair)
        if not grouped:
            raise UserError(
                f"pairs.dataset.path: none of the {len(self.pairs.kept):,} pairs of {self.label} "
                "is left to train on beside the held-out prompts; add pairs or lower "
                "prompts.held_out_share"
            )
        found = (
            AnsweredPrompt(prompt_of(messages, f"{self.label}, {rows[0].row}"), tuple(rows))
            for messages, rows in grouped.items()
        )
        return {item.prompt.id: item for item in found}

    @property
    def held_out_pairs(self) -> int:
        """Pairs left out of the loop, because their opening is held out."""
        return len(self.pairs.kept) - sum(len(item.pairs) for item in self.asked.values())

    @cached_property
    def sha256(self) -> str:
        """Hash of every pair of the loop with its place, and of the held-out prompts."""
        pairs = [pair for item in self.asked.values() for pair in item.pairs]
        return texts_sha256(
            [
                *(json.dumps(asdict(pair)) for pair in pairs),
                *(json.dumps(openings) for openings in self._openings.values()),
            ]
        )

    @property
    def held_out(self) -> tuple[str, ...]:
        """Every opening that the loop never sees."""
        return tuple(text for openings in self._openings.values() for text in openings)

    def loop(self, iteration: int, count: int | None, seed: int) -> list[Prompt]:
        """Return an iteration's prompts, as ``PromptSource`` says; with no ``count``, all of them.

        They come in the order of ``seed``: which rows are seen first decides nothing else.
        """
        ids, repeats = iteration_slice(self.asked, iteration, count or len(self.asked), seed)
        if repeats and count is not None:
            log.warning(
                "pairs: iteration %d takes prompts that earlier iterations had: there are %d, and "
                "%d an iteration were asked for; lower pairs.dataset.per_iteration",
                iteration, len(self.asked), count,
            )  # fmt: skip
        return [self.asked[one].prompt for one in ids]

    def evaluation(self, count: int, seed: int) -> list[Prompt]:
        """Return up to ``count`` held-out prompts, on which writers are measured."""
        return self._set("evaluation").first(count, seed)

    def judge_reference(self, count: int, seed: int) -> list[Prompt]:
        """Return up to ``count`` held-out prompts, on whose answers judges are measured."""
        return self._set("judge_reference").first(count, seed)

    @property
    def _share(self) -> float:
        return self.held_out_share if self.pairs.held_out is None else 1.0

    @cached_property
    def _openings(self) -> Mapping[str, Mapping[str, str]]:
        """By set, each held-out opening with where it came from."""
        others = self.pairs.kept if self.pairs.held_out is None else self.pairs.held_out
        sets: dict[str, dict[str, str]] = {"evaluation": {}, "judge_reference": {}, "loop": {}}
        for pair in others:
            opening = first_user_text(pair.prompt, pair.row)
            sets[split_of(opening, self._share)].setdefault(opening, f"{self.label}, {pair.row}")
        return {kind: sets[kind] for kind in ("evaluation", "judge_reference")}

    def _set(self, kind: str) -> PromptSet:
        openings = self._openings[kind]
        remedy = (
            f"a hash of the text puts {self._share / 2:.1%} of {self.label}'s prompts into each of "
            "the evaluation and judge reference sets; add pairs, raise prompts.held_out_share, or "
            "name other prompts with prompts=..."
        )
        texts = tuple(openings)
        return PromptSet(kind, texts, lambda text: Prompt.of(text, openings[text]), remedy)
