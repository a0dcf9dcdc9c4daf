"""A model behind an HTTP endpoint as a judge: a hosted one, or a local vLLM server.

It is asked as a policy is that judges itself: the same rubric, the same reading of verdicts, the
same mean of the readable ones. Every verdict is a request of its own, because not every server
knows ``n``; a server with a prefix cache reads the question once all the same.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from iterdpo.config.types import Count, NonNegative, Positive, Share
from iterdpo.errors import UserError
from iterdpo.judging.base import Group, Judge, answers_of, judgment
from iterdpo.judging.chat_answers import Reply
from iterdpo.judging.chat_client import ChatClient, ClientSettings
from iterdpo.judging.rubrics import Rubric, scale_problems
from iterdpo.judging.scores import mean_verdict
from iterdpo.judging.spellings import as_data
from iterdpo.judging.verdicts import VERDICTS_VERSION, parse_score
from iterdpo.records import (
    Candidate,
    Judgment,
    Policy,
    Prompt,
    Unscored,
    UnscoredReason,
    Verdict,
    record_id,
)
from iterdpo.settings import Keyless, Provided

SHARD_ROWS: Final = 32
"""Answers kept together: what a crash may cost in verdicts already paid. It is no setting, because
shards of another size are not resumed."""


@dataclass(frozen=True, kw_only=True)
class EndpointJudge(ClientSettings, Judge):
    """Asks an endpoint for verdicts by a rubric."""

    name: ClassVar[str] = "endpoint"
    version: ClassVar[int] = 1

    rubric: Annotated[str, Keyless("counts by its text")]
    """``additive``, or a path to a Jinja file."""
    samples: Count
    """Verdicts a candidate."""
    temperature: NonNegative | None
    """Like ``top_p`` and ``max_tokens``, not sent where it is null: some models refuse it."""
    top_p: Annotated[float, Field(gt=0, le=1)] | None
    max_tokens: Count | None
    """Longest verdict, hidden reasoning included."""
    min_readable: Share
    """With a smaller readable share of its verdicts, a judgment is unscored."""
    low: int
    """The lowest score."""
    high: int
    system: str | None
    """System message put before every request."""
    limit_name: Annotated[
        Literal["max_tokens", "max_completion_tokens"],
        Keyless("what the server calls a setting"),
    ]
    """What the server calls ``max_tokens``."""
    send_seed: bool
    """Send a seed with each request, another one for each. False for servers that know none."""
    concurrency: Annotated[Count, Keyless("speed")]
    """Requests under way at once."""
    price_in: Annotated[NonNegative, Keyless("what the same answers cost")]
    """Price of a million tokens read, in any currency."""
    price_out: Annotated[NonNegative, Keyless("likewise")]
    """Price of a million tokens written."""
    budget: Annotated[Positive | None, Keyless("stops a run, changes none")]
    """No shard is begun after spending this much since the start; what was judged is kept."""

    seed: Provided[int]

    def __post_init__(self) -> None:
        problems = [*self.problems(), *scale_problems(self.low, self.high, self.rubric)]
        if self.budget is not None and not (self.price_in or self.price_out):
            problems.append(
                f"budget={self.budget:g}: nothing has a price; set price_in and price_out, per "
                "million tokens"
            )
        if problems:
            raise ValueError("\n".join(problems))

    @property
    def content(self) -> Mapping[str, object]:
        seed = {"seed": self.seed} if self.send_seed else {}
        return {"rubric": self._rubric.sha256, "verdicts": VERDICTS_VERSION, **seed}

    @property
    def shard_rows(self) -> int:
        return SHARD_ROWS

    @property
    def counts(self) -> Mapping[str, float]:
        """Answered requests, their tokens, and what these cost. A try that was cut off may cost
        something too, which nobody tells.
        """
        return {**self._usage.counts, "cost": self.cost}

    @property
    def cost(self) -> float:
        """What was spent since this judge was made, in the currency of the prices."""
        counts = self._usage.counts
        return (counts["tokens_in"] * self.price_in + counts["tokens_out"] * self.price_out) / 1e6

    @property
    def scale(self) -> tuple[float, float]:
        return float(self.low), float(self.high)

    def prepare(self) -> None:
        self._api_key()
        super().prepare()

    def judge(self, groups: Iterable[Group], policy: Policy) -> Iterator[Judgment]:
        self._require_budget()
        answers = answers_of(groups)
        asked = [(*answer, sample) for answer in answers for sample in range(self.samples)]
        name = self.fingerprint
        _ = self._client, self._usage  # made once, before threads share them
        pool = ThreadPoolExecutor(self.concurrency, "judge")
        try:
            replies = pool.map(lambda item: self._ask(*item), asked)
            for _, candidate in answers:
                said = [next(replies) for _ in range(self.samples)]
                verdict = mean_verdict([self._verdict(reply) for reply in said], self.min_readable)
                yield judgment(candidate, name, verdict, raw=tuple(reply.text for reply in said))
        finally:
            pool.shutdown(cancel_futures=True)

    def close(self) -> None:
        self._client.close()

    @cached_property
    def _rubric(self) -> Rubric:
        return Rubric.load(self.rubric)

    @cached_property
    def _client(self) -> ChatClient:
        return ChatClient(self, self._api_key())

    @cached_property
    def _usage(self) -> _Usage:
        return _Usage()

    def _api_key(self) -> str | None:
        if self.api_key_env is None:
            return None
        key = os.environ.get(self.api_key_env, "").strip()
        if not key:
            raise UserError(
                f"judge.api_key_env={self.api_key_env}: this environment variable is not set; "
                "export it, or set api_key_env=null for a server that asks for no key"
            )
        if not (key.isascii() and key.isprintable() and " " not in key):
            # No header can hold it, and what a library says of such a header may quote it.
            raise UserError(
                f"judge.api_key_env={self.api_key_env}: what this environment variable holds is no "
                "key: it has spaces, line breaks or characters outside ASCII in it"
            )
        return key

    def _ask(self, prompt: Prompt, candidate: Candidate, sample: int) -> Reply:
        text = self._rubric.render(
            as_data(prompt.text),
            as_data(candidate.text),
            reasons=True,
            low=self.low,
            high=self.high,
            reference=None if prompt.reference is None else as_data(prompt.reference),
            rubric=[replace(item, text=as_data(item.text)) for item in prompt.rubric],
        )
        system = [{"role": "system", "content": self.system}] if self.system else []
        given = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            self.limit_name: self.max_tokens,
        }
        options: dict[str, object] = {key: own for key, own in given.items() if own is not None}
        if self.send_seed:
            name = record_id("seed", (candidate.id,), sample, str(self.seed))
            options["seed"] = int(name[:8], 16) >> 1
        reply = self._client.ask([*system, {"role": "user", "content": text}], options)
        if self.budget is not None and reply.outcome in ("stop", "length") and not reply.tokens_in:
            raise UserError(
                f"judge.budget={self.budget:g}: the server does not say how many tokens a request "
                "took, so no budget can be kept; set it to null"
            )
        self._usage.add(reply)
        return reply

    def _verdict(self, reply: Reply) -> Verdict:
        if reply.outcome == "too_long":
            return Unscored(UnscoredReason.PROMPT_TOO_LONG, reply.text)
        if reply.outcome == "refused":
            return Unscored(UnscoredReason.REFUSED, reply.text)
        cut_off = reply.outcome == "length"
        return parse_score(reply.text, self.low, self.high, truncated=cut_off)

    def _require_budget(self) -> None:
        if self.budget is not None and self.cost >= self.budget:
            raise UserError(
                f"judge.budget={self.budget:g}: {self.cost:.4g} is spent on "
                f"{self._usage.counts['requests']} verdicts; what was judged is kept: run the same "
                "command again to spend as much once more, or raise it"
            )


class _Usage:
    """What several threads have asked for together."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter({"requests": 0, "tokens_in": 0, "tokens_out": 0})
        self._lock = threading.Lock()

    def add(self, reply: Reply) -> None:
        with self._lock:
            self.counts["requests"] += 1
            self.counts["tokens_in"] += reply.tokens_in
            self.counts["tokens_out"] += reply.tokens_out
