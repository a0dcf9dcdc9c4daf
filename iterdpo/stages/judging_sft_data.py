"""A policy judges answers that people have ranked, and its right verdicts become examples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby

from iterdpo.data.instructions import Demonstration, RankedAnswers
from iterdpo.data.judging_examples import (
    JudgingExample,
    JudgingExamples,
    SampledVerdict,
    build_judging_examples,
)
from iterdpo.engines.base import Engine, PromptTooLong, Sampling
from iterdpo.engines.usage import Meter
from iterdpo.errors import UserError
from iterdpo.judging.rubrics import Rubric
from iterdpo.judging.verdicts import VERDICTS_VERSION, parse_score
from iterdpo.models.chat_messages import Request
from iterdpo.records import FinishReason, Policy, Unscored, UnscoredReason, Verdict
from iterdpo.runtime.progress import progress
from iterdpo.settings import key_settings
from iterdpo.stages import names
from iterdpo.stages.base import Metrics, RecordStage
from iterdpo.store.hashing import sha256_of
from iterdpo.store.shards import compute_in_shards
from iterdpo.store.stage import Stored, Work
from iterdpo.store.tables import write_records

VERDICTS_FILE = "verdicts.parquet"


@dataclass(frozen=True, slots=True)
class WrittenVerdict:
    """One verdict on one ranked answer."""

    question: int
    """Place of the question among those ranked, from 0."""
    answer: int
    """The people's rank of the answer, from 0 for the best."""
    sample: int
    text: str
    verdict: Verdict


@dataclass(frozen=True)
class WriteEftData(RecordStage[JudgingExample]):
    """EFT data: a policy's verdicts that agree with people (arXiv 2401.10020, section 3.1.1)."""

    ranked: tuple[RankedAnswers, ...]
    engine: Engine
    rubric: Rubric
    sampling: Sampling
    """``n`` verdicts on each answer; the k-th on all answers to a question count together."""
    low: int
    high: int
    system: str | None
    max_ratio: float
    """How many times as often as the next score the most common one may come, at least 1."""

    name = names.JUDGING_EXAMPLES
    record = JudgingExample

    @property
    def settings(self) -> Mapping[str, object]:
        return {
            "ranked": sha256_of([asdict(item) for item in self.ranked]),
            "engine": dict(self.engine.identity),
            "rubric": self.rubric.sha256,
            "verdicts": VERDICTS_VERSION,
            "sampling": key_settings(self.sampling),
            "low": self.low,
            "high": self.high,
            "system": self.system,
            "max_ratio": self.max_ratio,
        }

    def compute(self, work: Work, policy: Stored[Policy]) -> Metrics:
        asked = [
            (question, answer)
            for question, item in enumerate(self.ranked)
            for answer in range(len(item.answers))
        ]
        size = max(1, self.engine.shard_rows // self.sampling.n)
        writing = compute_in_shards(
            work.shards(WrittenVerdict, len(asked), size),
            asked,
            lambda _, some: self._write(some, policy.value),
            streams=self.engine.streams,
            check=work.stop.check,
        )
        label = f"{policy.value.name} judges ranked answers"
        with Meter(self.engine) as meter:
            total = len(asked) * self.sampling.n
            written = list(progress(writing, total, label, "verdicts"))
        made = self._build(written)
        if not made.kept:
            raise UserError(
                f"judging examples: none of {len(written)} verdicts by {policy.value.name} was "
                f"kept ({_told(made)}); give more ranked answers, raise the number of verdicts, "
                "or try another rubric"
            )
        self.keep(work, made.kept)
        write_records(work.directory / VERDICTS_FILE, WrittenVerdict, written)
        return {
            "verdicts": len(written),
            "kept": len(made.kept),
            "dropped": {reason.value: count for reason, count in made.dropped.items()},
            "engine": meter.metrics,
        }

    def _build(self, written: Sequence[WrittenVerdict]) -> JudgingExamples:
        verdicts: list[list[list[SampledVerdict]]] = [
            [[] for _ in item.answers] for item in self.ranked
        ]
        for item in written:
            verdicts[item.question][item.answer].append(SampledVerdict(item.text, item.verdict))
        return build_judging_examples(
            self.ranked, verdicts, max_ratio=self.max_ratio, seed=self.sampling.seed
        )

    def _write(
        self, asked: Sequence[tuple[int, int]], policy: Policy
    ) -> Iterator[list[WrittenVerdict]]:
        """Yield the verdicts on one answer after the other."""
        requests = [self._request(question, answer) for question, answer in asked]
        answers = self.engine.generate(requests, policy, self.sampling)
        for number, group in groupby(answers, key=lambda answer: answer.request):
            question, answer = asked[number]
            verdicts: list[WrittenVerdict] = []
            for completion in group:
                if isinstance(completion, PromptTooLong):
                    lengths = f"{completion.tokens} tokens, at most {completion.limit}"
                    verdict: Verdict = Unscored(UnscoredReason.PROMPT_TOO_LONG, lengths)
                    verdicts = [
                        WrittenVerdict(question, answer, sample, "", verdict)
                        for sample in range(self.sampling.n)
                    ]
                    break
                # Read or not, a verdict without its end would be learned as if it ended there.
                if completion.finish_reason is FinishReason.LENGTH:
                    verdict = Unscored(UnscoredReason.CUT_OFF, completion.text)
                else:
                    verdict = parse_score(completion.text, self.low, self.high)
                verdicts.append(
                    WrittenVerdict(question, answer, completion.sample, completion.text, verdict)
                )
            yield verdicts

    def demonstration(self, example: JudgingExample) -> Demonstration:
        """Return an example as it is learned: the very request for a verdict, and the verdict."""
        asked = self._asked(example.prompt, example.response)
        return Demonstration(asked.messages, example.judgment, example.row)

    def _request(self, question: int, answer: int) -> Request:
        item = self.ranked[question]
        return self._asked(item.prompt, item.answers[answer])

    def _asked(self, prompt: str, response: str) -> Request:
        text = self.rubric.render(prompt, response, reasons=True, low=self.low, high=self.high)
        return Request.of(text, self.system)


def _told(made: JudgingExamples) -> str:
    return ", ".join(f"{count} {reason.value}" for reason, count in made.dropped.items() if count)
