"""Labelled answers, kept as what a judge is asked about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from iterdpo.data.labelled import LabelledAnswers
from iterdpo.prompts.conversations import prompt_of
from iterdpo.records import OFFLINE, Candidate, FinishReason, Prompt, record_id
from iterdpo.stages.base import Metrics, Record, RecordStage
from iterdpo.store.hashing import sha256_of
from iterdpo.store.stage import Work


@dataclass(frozen=True)
class KeepRecords(RecordStage[Record]):
    """Puts records that came from outside into the store, by their ids."""

    record: type[Record]
    records: tuple[Record, ...]
    name: str

    @property
    def settings(self) -> Mapping[str, object]:
        ids = [getattr(item, "id") for item in self.records]  # noqa: B009
        return {"records": sha256_of(ids)}

    def compute(self, work: Work) -> Metrics:
        return {"records": len(self.keep(work, self.records))}


def judge_set(items: Sequence[LabelledAnswers]) -> list[tuple[str, Prompt, list[Candidate]]]:
    """Return, for each row, the name of what it asks, its prompt, and its answers as candidates.

    A question that comes again is named apart, so that no judge compares answers across rows; its
    first name is what the rows share.
    """
    found = []
    seen: set[str] = set()
    for number, item in enumerate(items):
        prompt = prompt_of(item.messages, item.row)
        asked = prompt.id
        if asked in seen:
            prompt = replace(prompt, id=record_id("prompt", (asked,), number, ""))
        seen.add(asked)
        answers = [_candidate(prompt, n, text) for n, text in enumerate(item.answers)]
        found.append((asked, prompt, answers))
    return found


def _candidate(prompt: Prompt, index: int, text: str) -> Candidate:
    return Candidate(
        id=record_id("candidate", (prompt.id,), index, text),
        prompt_id=prompt.id,
        index=index,
        text=text,
        prompt_token_ids=(),
        token_ids=(),
        logprobs=(),
        finish_reason=FinishReason.STOP,
        policy=OFFLINE,
        seed=0,
    )
