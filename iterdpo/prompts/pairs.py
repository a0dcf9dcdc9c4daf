"""The prompts of preference pairs that somebody gave, and which of them are held out."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property

from iterdpo.conversation import Message
from iterdpo.data.preferences import OfflinePair
from iterdpo.data.turns import first_user_text
from iterdpo.errors import UserError
from iterdpo.prompts.base import folded, iteration_slice, texts_sha256
from iterdpo.prompts.pool import Pool
from iterdpo.prompts.text_pool import require_share, split_of
from iterdpo.records import Prompt, record_id

log = logging.getLogger(__name__)

_SPEAKERS = {"system": "System", "user": "Human", "assistant": "Assistant"}


@dataclass(frozen=True, slots=True)
class Asked:
    """One conversation that answers were given to, with every pair of them."""

    prompt: Prompt
    messages: tuple[Message, ...]
    pairs: tuple[OfflinePair, ...]
    """In the order of their rows."""


class PairPrompts:
    """Implements ``PromptSource``: conversations for the loop, their openings for evaluation.

    What the user says first, the opening, decides by its hash where a conversation belongs, so that
    no opening that is evaluated begins one that is trained on.
    """

    def __init__(
        self,
        pairs: Sequence[OfflinePair],
        name: str,
        *,
        held_out_share: float = 0.1,
        held_out: Sequence[OfflinePair] | None = None,
        evaluates: bool = True,
    ) -> None:
        """Group the pairs by their conversation.

        Args:
            pairs: the rows to train on, without those held out.
            name: what messages and records call their source.
            held_out_share: share of the openings that the loop never sees, in (0, 1).
            held_out: rows of a split of their own: their openings are held out instead, and pairs
                with the same opening left out of the loop.
            evaluates: whether anything is to be held out at all.

        Raises:
            UserError: no pair is left for the loop.
        """
        require_share(held_out_share)
        self.name, self.held_out_share = name, held_out_share
        others = held_out if held_out is not None else pairs if evaluates else ()
        self.share = 1.0 if held_out is not None else held_out_share
        sets: dict[str, dict[str, str]] = {"evaluation": {}, "judge_reference": {}, "loop": {}}
        for pair in others:
            opening = first_user_text(pair.prompt, pair.row)
            sets[split_of(opening, self.share)].setdefault(opening, f"{name}, {pair.row}")
        self._openings = {kind: sets[kind] for kind in ("evaluation", "judge_reference")}
        kept = {folded(text) for openings in self._openings.values() for text in openings}
        grouped: dict[tuple[Message, ...], list[OfflinePair]] = {}
        for pair in pairs:
            if folded(first_user_text(pair.prompt, pair.row)) not in kept:
                grouped.setdefault(pair.prompt, []).append(pair)
        self.asked = {
            item.prompt.id: item
            for item in (
                Asked(prompt_of(messages, f"{name}, {found[0].row}"), messages, tuple(found))
                for messages, found in grouped.items()
            )
        }
        """Every conversation of the loop by the id of its prompt."""
        self.held_out_pairs = len(pairs) - sum(len(item.pairs) for item in self.asked.values())
        """Pairs left out of the loop, because their opening is held out."""
        if not self.asked:
            raise UserError(
                f"pairs.dataset.path: none of the {len(pairs):,} pairs of {name} is left to train "
                "on beside the held-out prompts; add pairs or lower prompts.held_out_share"
            )

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
    def identity(self) -> Mapping[str, object]:
        return {"source": "pairs", "name": self.name, "sha256": self.sha256}

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
        return self._pool("evaluation").first(count, seed)

    def judge_reference(self, count: int, seed: int) -> list[Prompt]:
        """Return up to ``count`` held-out prompts, on whose answers judges are measured."""
        return self._pool("judge_reference").first(count, seed)

    def _pool(self, kind: str) -> Pool:
        openings = self._openings[kind]
        remedy = (
            f"a hash of the text puts {self.share / 2:.1%} of {self.name}'s prompts into each of "
            "the evaluation and judge reference sets; add pairs, raise prompts.held_out_share, or "
            "name other prompts with prompts=..."
        )
        return Pool(kind, tuple(openings), openings.__getitem__, remedy)


def prompt_of(messages: Sequence[Message], source: str) -> Prompt:
    """Return the record of a conversation that is to be answered.

    A single question is named by its text, as everywhere; a conversation by its messages, because
    two of them can read alike once they are written as one text.
    """
    if [message.role for message in messages] == ["user"]:
        return Prompt.of(messages[0].content, source)
    identity = json.dumps([[message.role, message.content] for message in messages])
    text = "\n\n".join(f"{_SPEAKERS[item.role]}: {item.content}" for item in messages)
    return Prompt(record_id("prompt", (), 0, identity), text, source)
