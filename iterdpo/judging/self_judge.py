"""The policy as its own judge (Self-Rewarding Language Models, arXiv 2401.10020)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from iterdpo.config.types import Count, NonNegative, Share
from iterdpo.engines.base import ChoiceLogprobs, Engine, PromptTooLong, Sampling
from iterdpo.judging.base import Group, Judge, SftRubric, answers_of, judgment
from iterdpo.judging.rubrics import Rubric, scale_problems
from iterdpo.judging.scores import expected_score, mean_verdict
from iterdpo.judging.verdicts import VERDICTS_VERSION, parse_score
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
from iterdpo.settings import Keyless, Provided

_EXPECTED = ("min_mass",)
_SAMPLED = ("samples", "temperature", "top_p", "max_tokens", "min_readable")
"""The settings that only one of the two ways to score reads."""


@dataclass(frozen=True, kw_only=True)
class SelfJudge(Judge):
    """Asks a policy, through an engine, for its judgment by a rubric.

    An empty answer is judged like any other; pairing drops it.
    """

    name: ClassVar[str] = "self"
    version: ClassVar[int] = 1
    asks_policy: ClassVar[bool] = True

    model: Annotated[
        Literal["current", "initial"],
        Keyless("enters as the judge's own key: nothing differs before M2"),
    ]
    """``current``: the policy of the iteration judges itself. ``initial``: always M0."""
    rubric: Annotated[str, Keyless("counts by its text")]
    """``lab``, ``additive``, or a path to a Jinja file."""
    score: Literal["expected", "sampled"]
    """``expected``: mean over the score tokens' probabilities, one prefill a candidate.
    ``sampled``: verdicts with reasons are written, read and averaged."""
    samples: Count
    """Verdicts a candidate, for ``sampled``."""
    temperature: NonNegative
    top_p: Annotated[float, Field(gt=0, le=1)]
    max_tokens: Count
    """Longest verdict."""
    min_readable: Share
    """With a smaller readable share of its verdicts, a sampled judgment is unscored."""
    min_mass: Share
    """With less probability on the score tokens, an expected judgment is unscored."""
    low: int
    """The lowest score."""
    high: int
    system: str | None
    """System message put before every request."""

    engine: Provided[Engine]
    seed: Provided[int]
    """For sampled verdicts; the expected score draws nothing."""

    def __post_init__(self) -> None:
        problems = scale_problems(self.low, self.high, self.rubric)
        if self.score == "expected" and (self.low < 0 or self.high > 9):
            problems.append(
                f"high={self.high}: score=expected reads one token, so scores must lie in 0..9; "
                "use score=sampled for a wider range"
            )
        if problems:
            raise ValueError("\n".join(problems))

    @property
    def unread_settings(self) -> frozenset[str]:
        return frozenset(_SAMPLED if self.score == "expected" else _EXPECTED)

    @property
    def content(self) -> Mapping[str, object]:
        found = {"rubric": self._rubric.sha256, "engine": dict(self.engine.identity)}
        written = {"seed": self.seed, "verdicts": VERDICTS_VERSION}
        return found | (written if self.score == "sampled" else {})

    @property
    def shard_rows(self) -> int:
        return self.engine.shard_rows

    @property
    def streams(self) -> bool:
        return self.engine.streams

    @property
    def scale(self) -> tuple[float, float]:
        return float(self.low), float(self.high)

    @property
    def judged_by(self) -> Literal["current", "initial"]:
        return self.model

    @property
    def sft_rubric(self) -> SftRubric | None:
        if self.score == "expected":
            return None
        return SftRubric(self.rubric, self.low, self.high, self.system)

    def judge(self, groups: Iterable[Group], policy: Policy) -> Iterator[Judgment]:
        asked = answers_of(groups)
        candidates = [candidate for _, candidate in asked]
        requests = [self._request(prompt, candidate.text) for prompt, candidate in asked]
        if self.score == "expected":
            yield from self._expected(candidates, requests, policy)
        else:
            yield from self._sampled(candidates, requests, policy)

    @cached_property
    def _rubric(self) -> Rubric:
        return Rubric.load(self.rubric)

    def _request(self, prompt: Prompt, response: str) -> Request:
        text = self._rubric.render(
            prompt.text,
            response,
            reasons=self.score == "sampled",
            low=self.low,
            high=self.high,
            reference=prompt.reference,
            rubric=prompt.rubric,
        )
        return Request.of(text, self.system)

    def _expected(
        self, candidates: Sequence[Candidate], requests: Sequence[Request], policy: Policy
    ) -> Iterator[Judgment]:
        low, high = self.low, self.high
        choices = [str(score) for score in range(low, high + 1)]
        answers = self.engine.choice_logprobs(requests, choices, policy)
        for index, (candidate, answer) in enumerate(zip(candidates, answers, strict=True)):
            _check_order(index, answer.request)
            if isinstance(answer, PromptTooLong):
                yield judgment(candidate, policy.fingerprint, _too_long(answer))
            else:
                yield self._weigh(candidate, policy, answer)

    def _weigh(self, candidate: Candidate, policy: Policy, answer: ChoiceLogprobs) -> Judgment:
        expected = expected_score(answer.logprobs, self.low, self.high)
        if expected is None:
            verdict = Unscored(UnscoredReason.NO_MASS, repr(answer.logprobs))
            return judgment(candidate, policy.fingerprint, verdict, mass=0.0)
        return judgment(
            candidate,
            policy.fingerprint,
            (
                Scored(expected.score)
                if expected.mass >= self.min_mass
                else Unscored(UnscoredReason.NO_MASS, repr(expected.distribution))
            ),
            distribution=expected.distribution,
            mass=expected.mass,
        )

    def _sampled(
        self, candidates: Sequence[Candidate], requests: Sequence[Request], policy: Policy
    ) -> Iterator[Judgment]:
        sampling = Sampling(
            n=self.samples,
            temperature=self.temperature,
            top_p=self.top_p,
            max_tokens=self.max_tokens,
            seed=self.seed,
        )
        answers = iter(self.engine.generate(requests, policy, sampling))
        for index, candidate in enumerate(candidates):
            raw: list[str] = []
            verdicts: list[Verdict] = []
            # Taken by count, so that a judgment is out as soon as its last verdict is.
            while len(raw) < self.samples:
                answer = next(answers)
                _check_order(index, answer.request)
                if isinstance(answer, PromptTooLong):
                    yield judgment(candidate, policy.fingerprint, _too_long(answer))
                    break
                cut_off = answer.finish_reason is FinishReason.LENGTH
                raw.append(answer.text)
                verdicts.append(parse_score(answer.text, self.low, self.high, truncated=cut_off))
            else:
                verdict = mean_verdict(verdicts, self.min_readable)
                yield judgment(candidate, policy.fingerprint, verdict, raw=tuple(raw))


def _too_long(answer: PromptTooLong) -> Unscored:
    said = f"{answer.tokens} tokens, at most {answer.limit}"
    return Unscored(UnscoredReason.PROMPT_TOO_LONG, said)


def _check_order(asked: int, answered: int) -> None:
    # A score given to the wrong answer would train the model on noise, silently.
    if asked != answered:
        raise RuntimeError(f"the engine answered request {answered} where {asked} was due")
