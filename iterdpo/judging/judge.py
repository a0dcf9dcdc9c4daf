"""The policy as its own judge (Self-Rewarding Language Models, arXiv 2401.10020)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from iterdpo.engines.base import ChoiceLogprobs, Engine, PromptTooLong, Sampling
from iterdpo.judging.base import Judge, judgment, prompt_texts
from iterdpo.judging.rubrics import Rubric
from iterdpo.judging.scores import expected_score, mean_verdict
from iterdpo.judging.verdicts import parse_score
from iterdpo.models.chat_messages import Request
from iterdpo.records import (
    Candidate,
    FinishReason,
    Judgment,
    Policy,
    Prompt,
    Scored,
    Unscored,
    UnscoredReason,
    Verdict,
)


@dataclass(frozen=True, kw_only=True)
class JudgeSettings:
    """How a score is asked for and read."""

    score: Literal["expected", "sampled"]
    """``expected``: mean over the score tokens' probabilities, one prefill a candidate.
    ``sampled``: verdicts with reasons are written, read and averaged."""
    rubric: str
    """A packaged rubric's name or the path of a Jinja file."""
    samples: int = 3
    """Verdicts a candidate, for ``sampled``."""
    temperature: float = 0.7
    top_p: float = 0.9
    max_tokens: int = 512
    """Longest verdict."""
    min_readable: float = 0.5
    """With a smaller readable share, in [0, 1], a sampled judgment is unscored."""
    min_mass: float = 0.5
    """With less probability on the score tokens, in [0, 1], an expected judgment is unscored."""
    low: int = 0
    high: int = 5
    system: str | None = None
    """System message put before every request."""


class SelfJudge(Judge):
    """Asks a policy, through an engine, for its judgment by a rubric.

    An empty answer is judged like any other; pairing drops it.
    """

    def __init__(
        self, engine: Engine, rubric: Rubric, settings: JudgeSettings, seed: int = 0
    ) -> None:
        """``seed`` is for sampled verdicts; the expected score draws nothing."""
        self.engine, self.rubric, self.settings, self.seed = engine, rubric, settings, seed

    @property
    def identity(self) -> Mapping[str, object]:
        settings = self.settings
        shared: dict[str, object] = {
            "judge": "self",
            "score": settings.score,
            "rubric": self.rubric.sha256,
            "low": settings.low,
            "high": settings.high,
            "system": settings.system,
            "engine": dict(self.engine.identity),
        }
        # Settings of the other way to score change nothing and stay out.
        if settings.score == "expected":
            return shared | {"min_mass": settings.min_mass}
        return shared | {
            "samples": settings.samples,
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "max_tokens": settings.max_tokens,
            "min_readable": settings.min_readable,
            "seed": self.seed,
        }

    @property
    def part_rows(self) -> int:
        return self.engine.part_rows

    @property
    def streams(self) -> bool:
        return self.engine.streams

    def judge(
        self, prompts: Sequence[Prompt], candidates: Sequence[Candidate], policy: Policy
    ) -> Iterator[Judgment]:
        texts = prompt_texts(prompts, candidates)
        requests = [self._request(texts[item.prompt_id], item.text) for item in candidates]
        if self.settings.score == "expected":
            yield from self._expected(candidates, requests, policy)
        else:
            yield from self._sampled(candidates, requests, policy)

    def _request(self, prompt: str, response: str) -> Request:
        settings = self.settings
        text = self.rubric.render(
            prompt,
            response,
            reasons=settings.score == "sampled",
            low=settings.low,
            high=settings.high,
        )
        return Request.of(text, settings.system)

    def _expected(
        self, candidates: Sequence[Candidate], requests: Sequence[Request], policy: Policy
    ) -> Iterator[Judgment]:
        low, high = self.settings.low, self.settings.high
        choices = [str(score) for score in range(low, high + 1)]
        answers = self.engine.choice_logprobs(requests, choices, policy)
        for index, (candidate, answer) in enumerate(zip(candidates, answers, strict=True)):
            _check_order(index, answer.request)
            if isinstance(answer, PromptTooLong):
                yield judgment(candidate, policy.fingerprint, _too_long(answer))
            else:
                yield self._weigh(candidate, policy, answer)

    def _weigh(self, candidate: Candidate, policy: Policy, answer: ChoiceLogprobs) -> Judgment:
        expected = expected_score(answer.logprobs, self.settings.low, self.settings.high)
        if expected is None:
            verdict = Unscored(UnscoredReason.NO_MASS, repr(answer.logprobs))
            return judgment(candidate, policy.fingerprint, verdict, mass=0.0)
        return judgment(
            candidate,
            policy.fingerprint,
            (
                Scored(expected.score)
                if expected.mass >= self.settings.min_mass
                else Unscored(UnscoredReason.NO_MASS, repr(expected.distribution))
            ),
            distribution=expected.distribution,
            mass=expected.mass,
        )

    def _sampled(
        self, candidates: Sequence[Candidate], requests: Sequence[Request], policy: Policy
    ) -> Iterator[Judgment]:
        settings = self.settings
        sampling = Sampling(
            n=settings.samples,
            temperature=settings.temperature,
            top_p=settings.top_p,
            max_tokens=settings.max_tokens,
            seed=self.seed,
        )
        answers = iter(self.engine.generate(requests, policy, sampling))
        for index, candidate in enumerate(candidates):
            raw: list[str] = []
            verdicts: list[Verdict] = []
            # Taken by count, so that a judgment is out as soon as its last verdict is.
            while len(raw) < settings.samples:
                answer = next(answers)
                _check_order(index, answer.request)
                if isinstance(answer, PromptTooLong):
                    yield judgment(candidate, policy.fingerprint, _too_long(answer))
                    break
                cut_off = answer.finish_reason is FinishReason.LENGTH
                raw.append(answer.text)
                verdicts.append(
                    parse_score(answer.text, settings.low, settings.high, truncated=cut_off)
                )
            else:
                verdict = mean_verdict(verdicts, settings.min_readable)
                yield judgment(candidate, policy.fingerprint, verdict, raw=tuple(raw))


def _too_long(answer: PromptTooLong) -> Unscored:
    said = f"{answer.tokens} tokens, at most {answer.limit}"
    return Unscored(UnscoredReason.PROMPT_TOO_LONG, said)


def _check_order(asked: int, answered: int) -> None:
    # A score given to the wrong answer would train the model on noise, silently.
    if asked != answered:
        raise RuntimeError(f"the engine answered request {answered} where {asked} was due")
