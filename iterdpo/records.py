"""The records that flow through a run: frozen, typed, each naming its parents.

A preference pair can be walked back through these records alone: pair -> both candidates -> prompt,
policy and seed; pair -> judgments -> judge policy and raw verdict texts or score distribution. Ids
are hashes over the parents' ids, the sample's index and the text: equal answers stay distinct.

A field that is added later has a neutral value, at which no id and no stored row knows of it (see
``settings``). This module imports nothing heavy.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from iterdpo.conversation import Message, RubricItem
from iterdpo.reasons import UnscoredReason as UnscoredReason
from iterdpo.settings import Neutral, key_settings


def record_id(kind: str, parents: Sequence[str], index: int, text: str) -> str:
    """Return 16 hex digits that name a record: sha256 over kind, parents, index and text."""
    identity = json.dumps([kind, list(parents), index, text], ensure_ascii=True)
    return hashlib.sha256(identity.encode("ascii")).hexdigest()[:16]


OFFLINE = "given"
"""In records, the writer of answers that came with a dataset; and the kind of their judge."""


def judge_fingerprint(identity: Mapping[str, object]) -> str:
    """Return the name, in records, of a judge that is no policy: a hash of what it is."""
    return record_id("judge", (), 0, json.dumps(identity, sort_keys=True, allow_nan=False))


@dataclass(frozen=True, slots=True)
class Prompt:
    """One instruction: a text as the user would type it, or a conversation."""

    id: str
    text: str
    source: str
    """Where it came from: ``lab``, or the file's name and line."""
    messages: Annotated[tuple[Message, ...], Neutral(())] = ()
    """The conversation up to the answer; empty where ``text`` is all there is of it."""
    reference: Annotated[str | None, Neutral(None)] = None
    """A right answer, for verifiers and judges that compare with one."""
    rubric: Annotated[tuple[RubricItem, ...], Neutral(())] = ()
    """What answers to this very prompt are judged by."""
    metadata: Annotated[Mapping[str, Any], Neutral({})] = field(default_factory=dict, hash=False)
    """Whatever else its source knows of it, as JSON."""

    @classmethod
    def of(cls, text: str, source: str, **more: Any) -> Prompt:
        """Name a prompt by what it is: the same text is the same prompt everywhere.

        ``source`` is no part of its name; the fields in ``more`` are, where they are not empty.
        """
        made = cls("", text, source, **more)
        own = {k: v for k, v in key_settings(made).items() if k not in ("id", "source", "text")}
        what = json.dumps({"text": text, **own}, sort_keys=True) if own else text
        return replace(made, id=record_id("prompt", (), 0, what))


class FinishReason(StrEnum):
    """Why an engine stopped writing."""

    STOP = "stop"
    """An end-of-sequence token was written."""
    LENGTH = "length"
    """``max_tokens`` or the context was full: the text is truncated."""


@dataclass(frozen=True, slots=True)
class Thought:
    """What a model thought before its answer."""

    text: str
    """As it was written, with its marks."""
    tokens: int
    """How many of the first tokens written are its own."""
    closed: bool
    """Whether it came to its end: behind one that did not, there is no answer."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One answer to a prompt, with the policy and seed that wrote it.

    Its numbers are tuples or, as they take a sixth of the memory and are equal, ``store.packed``.
    """

    id: str
    prompt_id: str
    index: int
    """Which of the prompt's n samples this is, from 0."""
    text: str
    """The answer alone, which judges and people see: never a thought."""
    prompt_token_ids: Sequence[int]
    token_ids: Sequence[int]
    """The tokens the engine wrote, those of a thought and the end-of-sequence token included."""
    logprobs: Sequence[float]
    """Natural-log probability of each of ``token_ids`` under the policy at temperature 1."""
    finish_reason: FinishReason
    policy: str
    """Fingerprint of the policy that wrote it."""
    seed: int
    thought: Annotated[Thought | None, Neutral(None)] = None
    """What was thought before the answer."""

    @property
    def truncated(self) -> bool:
        return self.finish_reason is FinishReason.LENGTH

    @property
    def unfinished_thought(self) -> bool:
        """Whether a thought was never closed, so that there is no answer."""
        return self.thought is not None and not self.thought.closed


@dataclass(frozen=True, slots=True)
class Scored:
    """A verdict that could be read. ``score`` is in the judge's own range, low to high."""

    score: float


@dataclass(frozen=True, slots=True)
class Unscored:
    """A verdict that could not be read: never a number. ``raw`` is what the judge said."""

    reason: UnscoredReason
    raw: str = ""


Verdict = Scored | Unscored


@dataclass(frozen=True, slots=True)
class Judgment:
    """What a judge said of one candidate."""

    id: str
    candidate_id: str
    prompt_id: str
    judge: str
    """Fingerprint of the policy that judged."""
    verdict: Verdict
    raw: tuple[str, ...] = ()
    """The judge's own texts, when it wrote any."""
    distribution: tuple[float, ...] = ()
    """Probabilities of the scores low..high, renormalized, when read from the logits."""
    mass: float | None = None
    """Probability that the score tokens held together before renormalizing, in [0, 1]."""

    @property
    def score(self) -> float | None:
        return self.verdict.score if isinstance(self.verdict, Scored) else None


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a judge said of two answers to one prompt, asked in both orders."""

    id: str
    prompt_id: str
    answer_id: str
    """The answer of the model that is measured."""
    opponent_id: str
    """The answer that it is compared with."""
    judge: str
    """Fingerprint of the policy that compared, or the name of a judge that is no policy."""
    forward: float | None
    """Preference for the answer when it is shown first, in [0, 1]; None where it was not read."""
    backward: float | None
    """Preference for the answer when it is shown second, likewise."""
    raw: tuple[str, ...] = ()
    """What the judge said in each order, or why that could not be read."""
    unscored: str = ""
    """Why there is no preference, a value of ``UnscoredReason``; empty where there is one."""

    @property
    def preference(self) -> float | None:
        """The mean of both orders, which cancels a liking for a place; None without one of them."""
        if self.forward is None or self.backward is None:
            return None
        return (self.forward + self.backward) / 2

    @property
    def flipped(self) -> bool:
        """Whether the two orders name different winners."""
        if self.forward is None or self.backward is None:
            return False
        return (self.forward - 0.5) * (self.backward - 0.5) < 0

    @property
    def outcome(self) -> float | None:
        """1 for a win, 0 for a loss, 1/2 for a tie; None without a preference.

        Orders that name different winners are a tie, however sure each was (MT-Bench, arXiv
        2306.05685, section 3.4).
        """
        if (preference := self.preference) is None:
            return None
        if self.flipped or preference == 0.5:
            return 0.5
        return float(preference > 0.5)


@dataclass(frozen=True, slots=True)
class Pair:
    """One preference: ``chosen`` was judged better than ``rejected`` for the same prompt."""

    id: str
    prompt_id: str
    chosen_id: str
    rejected_id: str
    prompt: str
    chosen: str
    rejected: str
    chosen_score: float
    rejected_score: float
    policy: str
    """Fingerprint of the policy that wrote both answers."""
    judge: str
    """Fingerprint of the policy that judged both answers."""

    @property
    def margin(self) -> float:
        return self.chosen_score - self.rejected_score


@dataclass(frozen=True, slots=True)
class Base:
    """A checkpoint and how it is held: the frozen weights under an adapter, or a whole model."""

    path: str
    """The checkpoint that the user named: a directory or a hub id."""
    sha256: str
    """Hash of the weights, tokenizer and config files, or of the resolved hub revision."""
    quantization: str
    """``nf4``, ``nf4-double``, ``int8`` or ``none``."""
    dtype: str
    dequantized: str
    """Directory of the weights that engines serve: the dequantized checkpoint, or ``path``
    itself where nothing was quantized."""

    @property
    def fingerprint(self) -> str:
        return record_id("base", (self.sha256, self.quantization, self.dtype), 0, "")


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter on disk."""

    path: str
    sha256: str
    """Hash of ``adapter_model.safetensors``."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A model that can write and judge: weights, and the policy that they were trained from.

    Where an adapter is trained, ``base`` is the same for every policy of a run. Where all weights
    are, each policy is a checkpoint of its own: a base without an adapter that has a parent.
    """

    name: str
    """``M0``, ``M1``, ..."""
    base: Base
    adapter: Adapter | None = None
    parent: str | None = None
    """Fingerprint of the policy that this one's training started from; None where nothing here
    trained it."""
    fingerprint: str = field(init=False)

    def __post_init__(self) -> None:
        adapter = self.adapter.sha256 if self.adapter else ""
        object.__setattr__(
            self, "fingerprint", record_id("policy", (self.base.fingerprint,), 0, adapter)
        )

    @property
    def trained_in(self) -> Path | None:
        """Directory that the training of this policy left its weights and its canary in."""
        if self.adapter is not None:
            return Path(self.adapter.path).parent
        return Path(self.base.path).parent if self.parent is not None else None
