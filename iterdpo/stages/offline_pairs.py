"""Pairs that somebody gave, in the places of the loop's own prompts, answers, scores and pairs.

Nothing is written and nothing judged: each stage reads its columns of the same rows. So an offline
pair has the records that any other has, and can be walked back to its file and row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field

from iterdpo.data.preferences import OfflinePair
from iterdpo.data.values import report
from iterdpo.engines.usage import Usage
from iterdpo.errors import UserError
from iterdpo.judging.base import judgment
from iterdpo.models.chat_messages import Request
from iterdpo.models.chat_template import Chat, ConversationError, stop_token_ids
from iterdpo.models.loading import declared_stop_tokens, load_tokenizer
from iterdpo.pairing.offline import CHOSEN, REJECTED, keep_offline_pairs
from iterdpo.prompts.pairs import AnsweredPrompt, PairsPrompts
from iterdpo.records import (
    OFFLINE,
    Candidate,
    FinishReason,
    Judgment,
    Policy,
    Prompt,
    Scored,
    judge_fingerprint,
    record_id,
)
from iterdpo.runtime.progress import progress
from iterdpo.settings import identity
from iterdpo.stages import names
from iterdpo.stages.base import Metrics, RecordStage
from iterdpo.stages.pairs import PairingStage
from iterdpo.store.packed import packed_ids
from iterdpo.store.stage import Stored, Work

_NOTHING_SPENT = {**asdict(Usage()), "tokens_per_second": 0.0}


@dataclass(frozen=True)
class SelectOfflinePrompts(RecordStage[Prompt]):
    """The conversations of an iteration's pairs."""

    prompts: PairsPrompts = field(repr=False)
    count: int | None
    """None for all of them."""
    seed: int
    left_out: Mapping[str, int]
    """Rows of the source that are no pair, by reason."""

    name = names.PROMPTS
    record = Prompt

    @property
    def settings(self) -> Mapping[str, object]:
        return {
            "source": identity(self.prompts),
            "purpose": "loop",
            "count": self.count,
            "seed": self.seed,
        }

    def compute(self, work: Work, iteration: int) -> Metrics:
        kept = self.keep(work, self.prompts.loop(iteration, self.count, self.seed))
        return {
            "prompts": len(kept),
            "pairs_held_out": self.prompts.held_out_pairs,
            "rows_left_out": dict(self.left_out),
        }


@dataclass(frozen=True)
class ReadOfflineCandidates(RecordStage[Candidate]):
    """Both answers of every pair, as the tokens that a model of this template would have written.

    Prompt and answer are tokenized apart, as they are in use, and an answer ends with the token
    that the template ends it with. No model wrote them: they have no log-probs.
    """

    prompts: PairsPrompts = field(repr=False)
    system: str | None
    """System message before conversations that bring none."""
    trust_remote_code: bool

    name = names.CANDIDATES
    record = Candidate
    version = 3

    @property
    def settings(self) -> Mapping[str, object]:
        return {"writer": OFFLINE, "pairs": self.prompts.sha256, "system": self.system}

    def compute(
        self, work: Work, prompts: Stored[tuple[Prompt, ...]], policy: Stored[Policy]
    ) -> Metrics:
        checkpoint = policy.value.base.path
        chat = Chat(load_tokenizer(checkpoint, self.trust_remote_code))
        stops = stop_token_ids(declared_stop_tokens(checkpoint), chat.tokenizer)
        asked = [self.prompts.asked[prompt.id] for prompt in prompts.value]
        problems: list[str] = []
        reading = (answer for item in asked for answer in self._read(chat, stops, item, problems))
        total = sum(2 * len(item.pairs) for item in asked)
        written = self.keep(work, progress(reading, total, "given pairs are read", "answers"))
        if problems:
            raise UserError(report(f"pairs: {self.prompts.label}", problems, total // 2))
        return {
            "candidates": len(written),
            "truncated": 0,
            "prompts_too_long": 0,
            "generated_tokens": 0,
            "generated_tokens_new": 0,
            "engine": dict(_NOTHING_SPENT),
        }

    def _read(
        self, chat: Chat, stops: tuple[int, ...], asked: AnsweredPrompt, problems: list[str]
    ) -> Iterator[Candidate]:
        """Yield the answers to a prompt; rows that the template does not take join ``problems``."""
        request = Request.to(asked.prompt, self.system)
        for nth, pair in enumerate(asked.pairs):
            try:
                prompt_ids = packed_ids(chat.encode(request))
                answers = [
                    (text, packed_ids(chat.encode_answer(text, stops)))
                    for text in (pair.chosen, pair.rejected)
                ]
            except ConversationError as error:
                problems.append(f"{pair.row}: {error}")
                continue
            for index, (text, token_ids) in enumerate(answers, start=2 * nth):
                yield Candidate(
                    id=record_id("candidate", (asked.prompt.id, OFFLINE), index, text),
                    prompt_id=asked.prompt.id,
                    index=index,
                    text=text,
                    prompt_token_ids=prompt_ids,
                    token_ids=token_ids,
                    logprobs=(),
                    finish_reason=FinishReason.STOP,
                    policy=OFFLINE,
                    seed=0,
                )


@dataclass(frozen=True)
class ReadOfflineScores(RecordStage[Judgment]):
    """The scores that came with the pairs; 1 and 0 where a row only says which answer is better."""

    prompts: PairsPrompts = field(repr=False)

    name = names.JUDGMENTS
    record = Judgment
    version = 1

    @property
    def settings(self) -> Mapping[str, object]:
        return {"judge": OFFLINE, "pairs": self.prompts.sha256}

    def compute(
        self,
        work: Work,
        prompts: Stored[tuple[Prompt, ...]],
        candidates: Stored[tuple[Candidate, ...]],
        policy: Stored[Policy],
    ) -> Metrics:
        judge = judge_fingerprint(self.settings)
        judged = self.keep(work, (self._judged(item, judge) for item in candidates.value))
        return {
            "judgments": len(judged),
            "judgments_new": len(judged),
            "scored": len(judged),
            "unscored": {},
            "engine": dict(_NOTHING_SPENT),
        }

    def _judged(self, candidate: Candidate, judge: str) -> Judgment:
        row, side = divmod(candidate.index, 2)
        pair = self.prompts.asked[candidate.prompt_id].pairs[row]
        place = f"{self.prompts.label}, {pair.row}: {(CHOSEN, REJECTED)[side]}"
        return judgment(candidate, judge, Scored(scores_of(pair)[side]), raw=(place,))


def scores_of(pair: OfflinePair) -> tuple[float, float]:
    """Return the scores of the chosen and the rejected answer, those of one scale or 1 and 0."""
    if pair.chosen_score is None or pair.rejected_score is None:
        return 1.0, 0.0
    return pair.chosen_score, pair.rejected_score


@dataclass(frozen=True)
class KeepOfflinePairs(PairingStage):
    """The pairs of the rows, less those that training cannot use."""

    longest: int | None
    """Most tokens of prompt and answer together; None for no limit."""

    @property
    def settings(self) -> Mapping[str, object]:
        return {"strategy": OFFLINE, "longest": self.longest}

    def compute(
        self,
        work: Work,
        prompts: Stored[tuple[Prompt, ...]],
        candidates: Stored[tuple[Candidate, ...]],
        judgments: Stored[tuple[Judgment, ...]],
    ) -> Metrics:
        made = keep_offline_pairs(prompts.value, candidates.value, judgments.value, self.longest)
        return self.keep(work, made)
