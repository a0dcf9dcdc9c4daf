"""A pool of prompts, cut into the loop's, the evaluation's and the judge's by a hash."""

from __future__ import annotations

import hashlib
import json
import logging
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Annotated

from pydantic import Field

from iterdpo.data.turns import warn_of_templates
from iterdpo.data.values import excerpt, kind_of
from iterdpo.errors import UserError
from iterdpo.prompts.base import PromptSource, folded
from iterdpo.prompts.conversations import opening_of
from iterdpo.prompts.sets import PromptSet
from iterdpo.records import Prompt
from iterdpo.settings import key_settings

log = logging.getLogger(__name__)

HeldOutShare = Annotated[float, Field(gt=0, lt=1)]
BY_CONTENT = "the prompts themselves, and what their source is called"
"""Why settings that say where prompts are read are in no key."""


class PromptPool(PromptSource):
    """Prompts, dealt out into three sets that never share a text.

    Whether a prompt is for the loop, evaluation or the judge reference set is decided by a hash of
    what the user says first, so it stays where it is when others are added or removed. Texts that
    differ only in case, white space or Unicode form go to the same set.
    """

    held_out_share: float = 0.1
    """Share of the prompts that the loop never sees, in (0, 1); one half is for evaluation, the
    other for the judge reference set."""

    @abstractmethod
    def prompts(self) -> Iterable[Prompt | str]:
        """Yield every prompt: texts, or records with a reference, a rubric or a conversation.

        They are asked for once. The same prompt counts once.
        """

    @property
    def label(self) -> str:
        """What messages and records call the pool."""
        return type(self).__name__

    @cached_property
    def content(self) -> Mapping[str, object]:
        """The prompts themselves and where each came from: another way to the same ones, such as
        a local copy, changes a key only where it changes what records say.
        """
        digest = hashlib.sha256()
        for prompt in self.everything:
            digest.update(json.dumps(key_settings(prompt), sort_keys=True).encode())
        return {"prompts": digest.hexdigest()}

    def loop(self, iteration: int, count: int, seed: int) -> list[Prompt]:
        """Return the new prompts of an iteration, as ``PromptSource`` says."""
        return self._sets["loop"].iteration(iteration, count, seed)

    def evaluation(self, count: int, seed: int) -> list[Prompt]:
        """Return up to ``count`` held-out prompts, on which writers are measured."""
        return self._sets["evaluation"].first(count, seed)

    def judge_reference(self, count: int, seed: int) -> list[Prompt]:
        """Return up to ``count`` held-out prompts, on whose answers judges are measured."""
        return self._sets["judge_reference"].first(count, seed)

    @property
    def held_out(self) -> tuple[str, ...]:
        """Every text of the two sets that the loop never sees."""
        return (*self.texts("evaluation"), *self.texts("judge_reference"))

    def texts(self, purpose: str) -> tuple[str, ...]:
        """Return all texts of ``loop``, ``evaluation`` or ``judge_reference``, in their order."""
        members = self._sets[purpose]
        return tuple(members.prompt_of(key).text for key in members.keys)

    @cached_property
    def everything(self) -> Sequence[Prompt]:
        """All prompts of the three sets, in the order given, each once.

        Raises:
            UserError: there is none, or one of them is no prompt.
        """
        given, found = list(self._given()), dict[str, Prompt]()
        for prompt in given:
            if found.setdefault(prompt.id, prompt).text != prompt.text:
                raise UserError(
                    f"prompts: {self.label} gives two prompts the id {prompt.id}; make them with "
                    "Prompt.of, which names them by what they are"
                )
        if not found:
            raise UserError(f"prompts: {self.label} gives no prompt")
        if repeated := len(given) - len(found):
            log.warning("prompts: %d of %s repeat another and count once", repeated, self.label)
        warn_of_templates([prompt.text for prompt in given], f"prompts: {self.label}")
        return tuple(found.values())

    def _given(self) -> Iterator[Prompt]:
        given: Iterable[object] = self.prompts()
        for number, item in enumerate(given, start=1):
            prompt = Prompt.of(item, f"{self.label}, {number}") if isinstance(item, str) else item
            if not isinstance(prompt, Prompt):
                said = f"is {kind_of(item)}: {excerpt(item)}"
                raise UserError(
                    f"prompts: number {number} of {self.label} {said}; give a text or a Prompt"
                )
            if not prompt.text.strip():
                raise UserError(f"prompts: number {number} of {self.label} is empty; leave it out")
            yield prompt

    @cached_property
    def _sets(self) -> Mapping[str, PromptSet]:
        share = self.held_out_share
        if not 0 < share < 1:
            raise UserError(f"prompts.held_out_share={share}: must be above 0 and below 1")
        prompts = {_key(prompt): prompt for prompt in self.everything}
        members: dict[str, list[str]] = {"loop": [], "evaluation": [], "judge_reference": []}
        for key, prompt in prompts.items():
            members[split_of(opening_of(prompt), share)].append(key)
        remedy = (
            f"a hash of the text puts {share / 2:.1%} of the prompts into each of the evaluation "
            f"and judge reference sets, and {self.label} holds {len(prompts)}; add prompts or "
            "change prompts.held_out_share"
        )
        return {
            name: PromptSet(name, tuple(keys), prompts.__getitem__, remedy)
            for name, keys in members.items()
        }


def _key(prompt: Prompt) -> str:
    """Return what orders a prompt among others: its text, where it is nothing else."""
    plain = Prompt.of(prompt.text, prompt.source)
    return prompt.text if prompt.id == plain.id else f"{prompt.text}\n{prompt.id}"


def split_of(text: str, held_out_share: float) -> str:
    """Return the set that a text belongs to: ``loop``, ``evaluation`` or ``judge_reference``.

    Args:
        text: Case, white space and Unicode form make no difference.
        held_out_share: Share of all texts that is not for the loop, in (0, 1); one half is for
            evaluation. With a larger share no held-out text goes back to the loop.
    """
    digest = hashlib.sha256(f"split {folded(text)}".encode()).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    if place >= held_out_share:
        return "loop"
    # A bit of its own: the sets keep their members when the share changes.
    return "evaluation" if digest[8] % 2 else "judge_reference"
