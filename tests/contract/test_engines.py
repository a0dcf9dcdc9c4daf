"""What every engine must do, whatever runs beneath it."""

from __future__ import annotations

import json
import math
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from iterdpo.engines.base import Completion, Engine, PromptTooLong, Sampling, TokenSequence
from iterdpo.engines.scripted import ScriptedEngine
from iterdpo.engines.transformers import TransformersEngine, TransformersSettings
from iterdpo.models.chat_messages import Request
from iterdpo.records import Base, FinishReason, Policy
from tests.checkpoints import CheckpointOf
from tests.narrowing import answered

REQUESTS = [Request.of(f"Name {n} animals.", system="Be brief.") for n in ("two", "six", "ten")]


CONTEXT = 200


@pytest.fixture(
    scope="module", params=["scripted", "transformers", "vllm", "vllm without adapters"]
)
def engine_and_policy(
    request: pytest.FixtureRequest, checkpoint_of: CheckpointOf
) -> Iterator[tuple[Engine, Policy]]:
    """One of each for all tests: vLLM takes seconds to start, and two count each other's tokens."""
    if request.param == "scripted":
        base = Base("nowhere", "0", "none", "float32", "nowhere")
        engine: Engine = ScriptedEngine(
            answer=lambda request, policy, sample: f"answer {sample} of {request.messages[-1]}",
            choose=lambda request, policy: {"0": 0.25, "5": 0.5},
            context=40,
        )
    else:
        checkpoint = str(checkpoint_of("llama"))
        base = Base(checkpoint, "0", "none", "float32", checkpoint)
        engine = make_engine(request)
    yield engine, Policy("M0", base)
    engine.close()


def make_engine(request: pytest.FixtureRequest) -> Engine:
    if request.param == "transformers":
        settings = TransformersSettings(device="cpu", batch_size=4, context=CONTEXT)
        return TransformersEngine(settings)
    request.getfixturevalue("vllm")
    from iterdpo.engines.vllm import VllmEngine
    from iterdpo.engines.vllm_process import VllmSettings

    rank = 16 if request.param == "vllm" else None
    return VllmEngine(VllmSettings("cpu", context=CONTEXT, cache_gib=0.2, lora_rank=rank))


@pytest.fixture
def engine(engine_and_policy: tuple[Engine, Policy]) -> Engine:
    return engine_and_policy[0]


@pytest.fixture
def policy(engine_and_policy: tuple[Engine, Policy]) -> Policy:
    return engine_and_policy[1]


def test_completions_come_in_the_order_asked(engine: Engine, policy: Policy) -> None:
    done = answered(engine.generate(REQUESTS, policy, Sampling(n=3, max_tokens=6)))
    assert [(c.request, c.sample) for c in done] == [(r, s) for r in range(3) for s in range(3)]


def test_a_completion_holds_its_tokens_and_their_logprobs(engine: Engine, policy: Policy) -> None:
    for completion in answered(engine.generate(REQUESTS, policy, Sampling(max_tokens=6))):
        assert len(completion.token_ids) == len(completion.logprobs) > 0
        assert all(value <= 0 and math.isfinite(value) for value in completion.logprobs)
        assert completion.prompt_token_ids
        assert isinstance(completion.finish_reason, FinishReason)


def test_the_same_seed_writes_the_same_and_is_recorded(engine: Engine, policy: Policy) -> None:
    sampling = Sampling(n=2, max_tokens=8, seed=11)
    first = answered(engine.generate(REQUESTS, policy, sampling))
    assert first == answered(engine.generate(REQUESTS, policy, sampling))
    other = answered(engine.generate(REQUESTS, policy, Sampling(n=2, max_tokens=8, seed=12)))
    assert {c.seed for c in first}.isdisjoint(c.seed for c in other)


def test_a_prompt_that_does_not_fit_is_answered_by_its_length_and_the_others_as_ever(
    engine: Engine, policy: Policy
) -> None:
    requests = [REQUESTS[0], Request.of("word " * 300), REQUESTS[1]]
    first, long, last = engine.generate(requests, policy, Sampling(max_tokens=6))
    assert isinstance(long, PromptTooLong)
    assert long.request == 1
    assert long.tokens > long.limit
    assert isinstance(first, Completion)
    assert isinstance(last, Completion)
    kinds = [type(answer) for answer in engine.choice_logprobs(requests, ["0"], policy)]
    assert [kind is PromptTooLong for kind in kinds] == [False, True, False]


def test_choices_get_the_logprob_of_being_next(engine: Engine, policy: Policy) -> None:
    answers = answered(engine.choice_logprobs(REQUESTS, ["0", "3", "5"], policy))
    assert [answer.request for answer in answers] == [0, 1, 2]
    for answer in answers:
        assert len(answer.logprobs) == 3
        assert sum(math.exp(value) for value in answer.logprobs) <= 1 + 1e-6


def test_choices_do_not_depend_on_what_else_is_asked(engine: Engine, policy: Policy) -> None:
    together = [a.logprobs for a in answered(engine.choice_logprobs(REQUESTS, ["0", "5"], policy))]
    for request, expected in zip(REQUESTS, together, strict=True):
        (alone,) = answered(engine.choice_logprobs([request], ["0", "5"], policy))
        assert alone.logprobs == pytest.approx(expected, abs=1e-5)


def test_sequences_are_scored_as_they_were_written(engine: Engine, policy: Policy) -> None:
    if isinstance(engine, ScriptedEngine):
        pytest.skip("a table has no probabilities: every token counts -1")
    done = answered(engine.generate(REQUESTS, policy, Sampling(n=2, max_tokens=6, seed=3)))
    texts = [TokenSequence(c.prompt_token_ids, c.token_ids) for c in done]
    measured = engine.sequence_logprobs(texts, policy)
    for values, completion in zip(measured, done, strict=True):
        assert values == pytest.approx(completion.logprobs, abs=1e-4)


def test_texts_of_any_length_that_fit_are_scored(engine: Engine, policy: Policy) -> None:
    lengths = [(1, 1), (3, 0), (CONTEXT - 1, 1), (1, CONTEXT - 1)]
    texts = [TokenSequence((5,) * prompt, (6,) * answer) for prompt, answer in lengths]
    measured = engine.sequence_logprobs(texts, policy)
    assert [len(values) for values in measured] == [answer for _, answer in lengths]
    for text, values in zip(texts, measured, strict=True):
        (alone,) = engine.sequence_logprobs([text], policy)
        assert values == pytest.approx(alone, abs=1e-4)


def test_a_caller_may_stop_early_and_ask_again(engine: Engine, policy: Policy) -> None:
    sampling = Sampling(n=2, max_tokens=6, seed=3)
    whole = answered(engine.generate(REQUESTS, policy, sampling))
    answers = engine.generate(REQUESTS, policy, sampling)
    assert next(iter(answers)) == whole[0]
    assert isinstance(answers, Generator)
    answers.close()
    assert answered(engine.generate(REQUESTS, policy, sampling)) == whole


def test_an_answer_that_fills_the_budget_is_truncated(engine: Engine, policy: Policy) -> None:
    if isinstance(engine, ScriptedEngine):
        pytest.skip("a table writes what stands in it")
    for completion in answered(
        engine.generate(REQUESTS, policy, Sampling(n=3, max_tokens=3, seed=1))
    ):
        full = len(completion.token_ids) == 3 and completion.token_ids[-1] not in stop_ids(policy)
        assert (completion.finish_reason is FinishReason.LENGTH) == full


def stop_ids(policy: Policy) -> set[int]:
    """Return what ends an answer of the tiny checkpoint, from its own file."""
    return {json.loads((Path(policy.base.path) / "config.json").read_text())["eos_token_id"]}


def test_tokens_are_counted(engine: Engine, policy: Policy) -> None:
    before = engine.usage
    done = answered(engine.generate(REQUESTS, policy, Sampling(n=2, max_tokens=5, seed=2)))
    spent = engine.usage - before
    assert spent.generated_tokens == sum(len(c.token_ids) for c in done)
    assert spent.prompt_tokens == sum(len(c.prompt_token_ids) for c in done)
    assert 0 <= spent.cached_prompt_tokens <= spent.prompt_tokens


def test_nothing_asked_is_nothing_answered(engine: Engine, policy: Policy) -> None:
    assert answered(engine.generate([], policy, Sampling())) == []
    assert list(engine.choice_logprobs([], ["0"], policy)) == []
    assert engine.sequence_logprobs([], policy) == []


def test_an_engine_works_after_sleeping(engine: Engine, policy: Policy) -> None:
    before = answered(engine.generate(REQUESTS, policy, Sampling(max_tokens=4)))
    engine.sleep()
    engine.wake()
    assert answered(engine.generate(REQUESTS, policy, Sampling(max_tokens=4))) == before


def test_the_identity_is_plain_data(engine: Engine, policy: Policy) -> None:
    from iterdpo.store.hashing import sha256_of

    assert sha256_of(dict(engine.identity))
