"""A model behind an HTTP endpoint as a judge: a hosted one, or a local vLLM server.

It is asked as a policy is that judges itself: the same rubric, the same reading of verdicts, the
same mean of the readable ones. Every verdict is a request of its own, because not every server
knows ``n``; a server with a prefix cache reads the question once all the same.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Literal

from iterdpo.errors import UserError
from iterdpo.judging.base import Judge, judgment, prompt_texts
from iterdpo.judging.chat_client import ChatClient, Reply
from iterdpo.judging.rubrics import Rubric
from iterdpo.judging.scores import mean_verdict
from iterdpo.judging.spellings import as_data
from iterdpo.judging.verdicts import parse_score
from iterdpo.records import (
    Candidate,
    Judgment,
    Policy,
    Prompt,
    Unscored,
    UnscoredReason,
    Verdict,
    judge_fingerprint,
    record_id,
)

PART_ROWS: Final = 32
"""Answers kept together: what a crash may cost in verdicts already paid. It is no setting, because
parts of another size are not gone on with."""


@dataclass(frozen=True, kw_only=True)
class EndpointSettings:
    """What is asked for, and what it may cost."""

    samples: int
    """Verdicts a candidate."""
    temperature: float
    top_p: float
    max_tokens: int
    """Longest verdict, hidden reasoning included."""
    min_readable: float
    """With a smaller readable share, in [0, 1], a judgment is unscored."""
    low: int
    high: int
    system: str | None = None
    """System message put before every request."""
    limit_name: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """What the server calls the limit."""
    send_seed: bool = True
    concurrency: int = 8
    """Requests under way at once."""
    price_in: float = 0.0
    """Price of a million tokens read."""
    price_out: float = 0.0
    """Price of a million tokens written."""
    budget: float | None = None
    """No part is begun after spending this much since the start, in the currency of the prices."""


class EndpointJudge(Judge):
    """Asks an endpoint for verdicts by a rubric."""

    def __init__(
        self, client: ChatClient, rubric: Rubric, settings: EndpointSettings, seed: int = 0
    ) -> None:
        """``seed`` is sent with each request, another one for each, where ``send_seed`` says so."""
        self.client, self.rubric, self.settings, self.seed = client, rubric, settings, seed
        self._counts: Counter[str] = Counter({"requests": 0, "tokens_in": 0, "tokens_out": 0})
        self._lock = threading.Lock()

    @property
    def identity(self) -> Mapping[str, object]:
        settings = self.settings
        return {
            "judge": "endpoint",
            "base_url": self.client.settings.base_url,
            "model": self.client.settings.model,
            "rubric": self.rubric.sha256,
            "samples": settings.samples,
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "max_tokens": settings.max_tokens,
            "min_readable": settings.min_readable,
            "low": settings.low,
            "high": settings.high,
            "system": settings.system,
            "seed": self.seed if settings.send_seed else None,
        }

    @property
    def part_rows(self) -> int:
        return PART_ROWS

    @property
    def counts(self) -> Mapping[str, float]:
        """Answered requests, their tokens, and what these cost. A try that was cut off may cost
        something too, which nobody tells.
        """
        return {**self._counts, "cost": self.cost}

    @property
    def cost(self) -> float:
        """What was spent since this judge was made, in the currency of the prices."""
        settings, counts = self.settings, self._counts
        spent = counts["tokens_in"] * settings.price_in + counts["tokens_out"] * settings.price_out
        return spent / 1e6

    def judge(
        self, prompts: Sequence[Prompt], candidates: Sequence[Candidate], policy: Policy
    ) -> Iterator[Judgment]:
        self._require_budget()
        texts = prompt_texts(prompts, candidates)
        asked = [
            (candidate, sample)
            for candidate in candidates
            for sample in range(self.settings.samples)
        ]
        name = judge_fingerprint(self.identity)
        pool = ThreadPoolExecutor(self.settings.concurrency, "judge")
        try:
            replies = pool.map(
                lambda item: self._ask(texts[item[0].prompt_id], item[0], item[1]), asked
            )
            for candidate in candidates:
                said = [next(replies) for _ in range(self.settings.samples)]
                verdict = mean_verdict(
                    [self._verdict(reply) for reply in said], self.settings.min_readable
                )
                yield judgment(candidate, name, verdict, raw=tuple(reply.text for reply in said))
        finally:
            pool.shutdown(cancel_futures=True)

    def close(self) -> None:
        self.client.close()

    def _ask(self, prompt: str, candidate: Candidate, sample: int) -> Reply:
        settings = self.settings
        text = self.rubric.render(
            as_data(prompt),
            as_data(candidate.text),
            reasons=True,
            low=settings.low,
            high=settings.high,
        )
        system = [{"role": "system", "content": settings.system}] if settings.system else []
        options: dict[str, object] = {
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            settings.limit_name: settings.max_tokens,
        }
        if settings.send_seed:
            name = record_id("seed", (candidate.id,), sample, str(self.seed))
            options["seed"] = int(name[:8], 16) >> 1
        reply = self.client.ask([*system, {"role": "user", "content": text}], options)
        self._count(reply)
        return reply

    def _count(self, reply: Reply) -> None:
        answered = reply.outcome in ("stop", "length")
        if self.settings.budget is not None and answered and not reply.tokens_in:
            raise UserError(
                f"judge.endpoint.budget={self.settings.budget:g}: the server does not say how many "
                "tokens a request took, so no budget can be kept; set it to null"
            )
        with self._lock:
            self._counts["requests"] += 1
            self._counts["tokens_in"] += reply.tokens_in
            self._counts["tokens_out"] += reply.tokens_out

    def _verdict(self, reply: Reply) -> Verdict:
        if reply.outcome == "too_long":
            return Unscored(UnscoredReason.PROMPT_TOO_LONG, reply.text)
        if reply.outcome == "refused":
            return Unscored(UnscoredReason.REFUSED, reply.text)
        cut_off = reply.outcome == "length"
        return parse_score(reply.text, self.settings.low, self.settings.high, truncated=cut_off)

    def _require_budget(self) -> None:
        budget = self.settings.budget
        if budget is not None and self.cost >= budget:
            raise UserError(
                f"judge.endpoint.budget={budget:g}: {self.cost:.4g} is spent on "
                f"{self._counts['requests']} verdicts; what was judged is kept: run the same "
                "command again to spend as much once more, or raise it"
            )
