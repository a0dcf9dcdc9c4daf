"""What an engine does with the card's memory while a model is trained there, and after it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from iterdpo.engines.transformers import TransformersEngine
from iterdpo.engines.verified import VerifiedEngine
from iterdpo.engines.vllm import VllmEngine
from iterdpo.engines.vllm_process import VllmProcess
from iterdpo.errors import LineageError
from iterdpo.records import Policy
from tests.gpu.engines import (
    DTYPE,
    LIES,
    TIES,
    Residency,
    answers,
    load_nothing,
    settles_below,
    ties,
    transformers_engine,
    used_memory,
    vllm_engine,
)

pytestmark = pytest.mark.gpu

KEPT = {"resident": 1.0, "sleep": 0.3, "restart": 0.1}
"""Share of what vLLM took that it may hold while a model is trained. Asleep, a process of its own
keeps a CUDA context, and what is neither weights nor cache."""


@pytest.fixture(scope="module", params=list(KEPT))
def residency(request: pytest.FixtureRequest, device: str) -> Residency:
    if device == "cpu" and request.param == "sleep":
        pytest.skip("vLLM sleeps on CUDA only")
    chosen: Residency = request.param
    return chosen


@pytest.fixture(scope="module")
def sleeper(vllm: None, device: str, residency: Residency) -> Iterator[VllmEngine]:
    """vLLM in one of its residencies, not started yet."""
    engine = vllm_engine(device, DTYPE, residency)
    yield engine
    engine.close()


def test_memory_is_given_back_and_the_answers_stay(
    sleeper: VllmEngine,
    residency: Residency,
    device: str,
    policies: list[Policy],
    m1: Policy,
    reference: TransformersEngine,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # The reference is on the card before anything is measured.
    expected = {policy.name: answers(reference, policy) for policy in (policies[0], m1)}
    verified = VerifiedEngine(sleeper)
    before = used_memory() if device == "cuda" else 0
    first = {policy.name: answers(verified, policy) for policy in (m1, policies[0])}
    assert verified.results[m1.fingerprint].outcome == "applied"
    taken = used_memory() - before if device == "cuda" else 0
    seconds = 0 if residency == "resident" else 30
    for turn in (1, 2):
        verified.results.clear()
        assert verified.sleep() is (residency != "resident")
        if device == "cuda":
            held = settles_below(before + KEPT[residency] * taken, seconds) - before
            with capsys.disabled():
                print(f"\n{residency} {turn}: {held / 2**30:.2f} of {taken / 2**30:.2f} GiB held")
            assert taken > 2**30
            if residency == "resident":
                assert held > 0.9 * taken
            else:
                assert held <= KEPT[residency] * taken
        verified.wake()
        for policy in (m1, policies[0]):
            again = answers(verified, policy)
            for known in (first, expected):
                apart = ties(reference, policy, again, known[policy.name])
                assert max(apart, default=0.0) <= TIES[DTYPE]
        # An engine that gave something back is asked for its checks anew.
        asked = set() if residency == "resident" else {m1.fingerprint, policies[0].fingerprint}
        assert set(verified.results) == asked
        assert {result.outcome for result in verified.results.values()} <= {"applied"}
    assert sleeper.starts == (3 if residency == "restart" else 1)


def test_an_adapter_that_is_lost_while_asleep_is_caught(
    sleeper: VllmEngine, residency: Residency, m1: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    if residency == "resident":
        pytest.skip("a resident engine does not sleep")
    verified = VerifiedEngine(sleeper)
    answers(verified, m1)
    verified.sleep()
    verified.wake()
    monkeypatch.setattr(VllmProcess, "_adapter", lambda self, policy: None)
    with pytest.raises(LineageError, match=LIES):
        answers(verified, m1)


def test_a_stale_adapter_after_the_wake_is_caught(
    sleeper: VllmEngine,
    residency: Residency,
    policies: list[Policy],
    m1: Policy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if residency != "sleep":
        pytest.skip("only what slept may hold something stale")
    verified = VerifiedEngine(sleeper)
    answers(verified, m1)
    verified.sleep()
    verified.wake()
    adapter = VllmProcess._adapter
    monkeypatch.setattr(VllmProcess, "_adapter", lambda self, policy: adapter(self, policies[2]))
    with pytest.raises(LineageError, match=LIES):
        answers(verified, m1)


@pytest.mark.parametrize("residency", ["sleep", "restart"])
def test_transformers_gives_memory_back_too(
    residency: Residency,
    device: str,
    m1: Policy,
    reference: TransformersEngine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = transformers_engine(device, DTYPE, residency)
    verified = VerifiedEngine(engine)
    if device == "cuda":
        import torch

        # What the libraries of matrix products keep for themselves is there before it counts.
        answers(reference, m1)
        before = torch.cuda.memory_allocated()
    first = answers(verified, m1)
    if device == "cuda":
        taken = torch.cuda.memory_allocated() - before
        assert taken > 2**20
    assert verified.sleep()
    if device == "cuda":
        assert torch.cuda.memory_allocated() - before <= 0.3 * taken
    verified.wake()
    apart = ties(reference, m1, answers(verified, m1), first)
    assert max(apart, default=0.0) <= TIES[DTYPE]
    assert verified.results[m1.fingerprint].outcome == "applied"
    assert engine.starts == (2 if residency == "restart" else 1)
    # Loaded again, and the adapter is lost on the way.
    engine.close()
    monkeypatch.setattr(TransformersEngine, "_load_adapter", load_nothing)
    verified = VerifiedEngine(engine)
    with pytest.raises(LineageError, match=LIES):
        answers(verified, m1)
    engine.close()
