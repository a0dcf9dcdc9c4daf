"""On a GPU, vLLM computes what transformers with PEFT computes, as far as the number type allows.

In float32 the greedy texts are equal token for token. In the half types two engines round
differently, so two tokens that are all but equally likely may change places; where a text differs,
it must differ by such a tie.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from iterdpo.config.schema import Config
from iterdpo.engines.base import TokenSequence
from iterdpo.engines.transformers import TransformersEngine
from iterdpo.engines.vllm import VllmEngine
from iterdpo.records import Policy
from tests.engines.test_vllm import GREEDY, SCORES, Written, requests
from tests.gpu.engines import TIES, ties, transformers_engine, vllm_engine
from tests.narrowing import answered, present

pytestmark = pytest.mark.gpu

PROMPTS = 64
EQUAL_SHARE = {"float32": 1.0, "float16": 0.8, "bfloat16": 0.5}
"""Of the texts, at least: another adapter, or none, gives next to no equal text."""
SCORE_GAP = {"float32": 1e-3, "float16": 0.02, "bfloat16": 0.1}
"""Largest difference of a score's probability."""


@pytest.fixture(scope="module", params=["float32", "float16", "bfloat16"])
def dtype(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def reference(device: str, dtype: str) -> Iterator[TransformersEngine]:
    engine = transformers_engine(device, dtype)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def engine(vllm: None, device: str, dtype: str, policies: list[Policy]) -> Iterator[VllmEngine]:
    engine = vllm_engine(device, dtype)
    try:
        list(engine.generate(requests(1), policies[1], GREEDY))
    except Exception as error:
        with suppress(Exception):
            engine.close()
        # vLLM's kernels for adapters on CUDA know the half types only.
        if (device, dtype) == ("cuda", "float32"):
            pytest.skip(f"vLLM serves no adapter in float32 on CUDA: {error!r}"[:300])
        raise
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def written(engine: VllmEngine, policies: list[Policy]) -> Written:
    """Greedy answers by the base and three adapters, in turns over one engine."""
    return [
        (policy, answered(engine.generate(requests(PROMPTS), policy, GREEDY)))
        for policy in policies
    ]


def test_greedy_texts_are_those_of_transformers_but_for_ties(
    written: Written,
    reference: TransformersEngine,
    engine: VllmEngine,
    dtype: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    texts = set()
    for policy, answers in written:
        expected = answered(reference.generate(requests(PROMPTS), policy, GREEDY))
        apart = ties(reference, policy, answers, expected)
        with capsys.disabled():
            print(
                f"\n{dtype} {policy.name}: {len(answers) - len(apart)} of {len(answers)} greedy "
                f"texts equal, the others part by up to {max(apart, default=0.0):.4f} nats"
            )
        assert len(apart) <= (1 - EQUAL_SHARE[dtype]) * len(answers)
        assert max(apart, default=0.0) <= TIES[dtype]
        texts.add(tuple(answer.text for answer in answers))
    assert len(texts) == 4  # the adapters do write differently
    assert engine.starts == 1


def test_logprobs_of_its_own_answers_are_those_of_the_model(
    written: Written,
    reference: TransformersEngine,
    configure: Callable[..., Config],
    dtype: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    largest = 1e-4 if dtype == "float32" else present(configure().engine.max_gap)
    for policy, answers in written:
        sequences = [TokenSequence(a.prompt_token_ids, a.token_ids) for a in answers]
        theirs = reference.sequence_logprobs(sequences, policy)
        gaps = [
            abs(sum(answer.logprobs) - sum(value)) / len(answer.token_ids)
            for answer, value in zip(answers, theirs, strict=True)
        ]
        with capsys.disabled():
            print(
                f"\n{dtype} {policy.name}: log-probs differ by {sum(gaps) / len(gaps):.5f} nats a "
                f"token on average, {max(gaps):.5f} at most"
            )
        assert max(gaps) < largest


def test_score_distributions_are_those_of_the_model(
    engine: VllmEngine, reference: TransformersEngine, policies: list[Policy], dtype: str
) -> None:
    for policy in policies:
        ours = answered(engine.choice_logprobs(requests(PROMPTS), SCORES, policy))
        theirs = answered(reference.choice_logprobs(requests(PROMPTS), SCORES, policy))
        for one, other in zip(ours, theirs, strict=True):
            shares = [math.exp(value) for value in one.logprobs]
            expected = [math.exp(value) for value in other.logprobs]
            assert shares == pytest.approx(expected, abs=SCORE_GAP[dtype])


def test_base_and_adapters_keep_apart_over_many_turns(
    engine: VllmEngine,
    policies: list[Policy],
    written: Written,
    reference: TransformersEngine,
    dtype: str,
) -> None:
    """Later turns, with the prefix cache warm, answer for the same policy as the first ones."""
    for policy, first in reversed(written):
        again = answered(engine.generate(requests(PROMPTS), policy, GREEDY))
        assert max(ties(reference, policy, again, first), default=0.0) <= TIES[dtype]
