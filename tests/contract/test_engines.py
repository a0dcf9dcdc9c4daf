"""What every engine must do, whatever runs beneath it."""

from __future__ import annotations

import math

import pytest

from iterdpo.engines.base import Completion, PromptTooLong, Request, Sampling
from iterdpo.engines.scripted import ScriptedEngine
from iterdpo.engines.transformers import TransformersEngine, TransformersSettings
from iterdpo.records import Base, FinishReason, Policy

REQUESTS = [Request.of(f"Name {n} animals.", system="Be brief.") for n in ("two", "six", "ten")]


@pytest.fixture(params=["scripted", "transformers"])
def engine_and_policy(request, checkpoint_of):
    if request.param == "scripted":
        base = Base("nowhere", "0", "none", "float32", "nowhere")
        engine = ScriptedEngine(
            answer=lambda request, policy, sample: f"answer {sample} of {request.messages[-1]}",
            choose=lambda request, policy: {"0": 0.25, "5": 0.5},
            context=40,
        )
    else:
        checkpoint = str(checkpoint_of("llama"))
        base = Base(checkpoint, "0", "none", "float32", checkpoint)
        engine = TransformersEngine(TransformersSettings(device="cpu", batch_size=4, context=200))
    yield engine, Policy("M0", base)
    engine.close()


@pytest.fixture
def engine(engine_and_policy):
    return engine_and_policy[0]


@pytest.fixture
def policy(engine_and_policy):
    return engine_and_policy[1]


def test_completions_come_in_the_order_asked(engine, policy):
    done = list(engine.generate(REQUESTS, policy, Sampling(n=3, max_tokens=6)))
    assert [(c.request, c.sample) for c in done] == [(r, s) for r in range(3) for s in range(3)]


def test_a_completion_holds_its_tokens_and_their_logprobs(engine, policy):
    for completion in engine.generate(REQUESTS, policy, Sampling(max_tokens=6)):
        assert len(completion.token_ids) == len(completion.logprobs) > 0
        assert all(value <= 0 and math.isfinite(value) for value in completion.logprobs)
        assert completion.prompt_token_ids
        assert isinstance(completion.finish_reason, FinishReason)


def test_the_same_seed_writes_the_same_and_is_recorded(engine, policy):
    sampling = Sampling(n=2, max_tokens=8, seed=11)
    first = list(engine.generate(REQUESTS, policy, sampling))
    assert first == list(engine.generate(REQUESTS, policy, sampling))
    other = list(engine.generate(REQUESTS, policy, Sampling(n=2, max_tokens=8, seed=12)))
    assert {c.seed for c in first}.isdisjoint(c.seed for c in other)


def test_a_prompt_that_does_not_fit_is_answered_by_its_length_and_the_others_as_ever(
    engine, policy
):
    requests = [REQUESTS[0], Request.of("word " * 300), REQUESTS[1]]
    first, long, last = engine.generate(requests, policy, Sampling(max_tokens=6))
    assert isinstance(long, PromptTooLong)
    assert long.request == 1
    assert long.tokens > long.limit
    assert isinstance(first, Completion)
    assert isinstance(last, Completion)
    kinds = [type(answer) for answer in engine.choice_logprobs(requests, ["0"], policy)]
    assert [kind is PromptTooLong for kind in kinds] == [False, True, False]


def test_choices_get_the_logprob_of_being_next(engine, policy):
    answers = list(engine.choice_logprobs(REQUESTS, ["0", "3", "5"], policy))
    assert [answer.request for answer in answers] == [0, 1, 2]
    for answer in answers:
        assert len(answer.logprobs) == 3
        assert sum(math.exp(value) for value in answer.logprobs) <= 1 + 1e-6


def test_choices_do_not_depend_on_what_else_is_asked(engine, policy):
    together = [a.logprobs for a in engine.choice_logprobs(REQUESTS, ["0", "5"], policy)]
    for request, expected in zip(REQUESTS, together, strict=True):
        (alone,) = engine.choice_logprobs([request], ["0", "5"], policy)
        assert alone.logprobs == pytest.approx(expected, abs=1e-5)


def test_nothing_asked_is_nothing_answered(engine, policy):
    assert list(engine.generate([], policy, Sampling())) == []
    assert list(engine.choice_logprobs([], ["0"], policy)) == []
    assert engine.sequence_logprobs([], policy) == []


def test_an_engine_works_after_sleeping(engine, policy):
    before = list(engine.generate(REQUESTS, policy, Sampling(max_tokens=4)))
    engine.sleep()
    engine.wake()
    assert list(engine.generate(REQUESTS, policy, Sampling(max_tokens=4))) == before


def test_the_identity_is_plain_data(engine, policy):
    from iterdpo.store.hashing import sha256_of

    assert sha256_of(dict(engine.identity))
