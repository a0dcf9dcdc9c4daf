"""Whether a canary tells on a GPU, in a half type, which adapter an engine really applies."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest

from iterdpo.engines.base import Engine
from iterdpo.engines.transformers import TransformersEngine
from iterdpo.engines.verified import VerifiedEngine
from iterdpo.engines.vllm_process import VllmProcess
from iterdpo.errors import LineageError
from iterdpo.records import Policy
from tests.gpu.engines import DTYPE, LIES, answers, load_nothing, transformers_engine, vllm_engine

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module", params=["transformers", "vllm"])
def engine(request: pytest.FixtureRequest, device: str) -> Iterator[Engine]:
    if request.param == "vllm":
        request.getfixturevalue("vllm")
        made: Engine = vllm_engine(device, DTYPE)
    else:
        made = transformers_engine(device, DTYPE)
    yield made
    made.close()


def test_the_adapter_that_is_asked_for_is_seen(
    engine: Engine, policies: list[Policy], m1: Policy
) -> None:
    verified = VerifiedEngine(engine)
    for policy in (m1, policies[0]):
        answers(verified, policy)
    assert {result.outcome for result in verified.results.values()} == {"applied"}
    assert set(verified.results) == {m1.fingerprint, policies[0].fingerprint}


def test_an_adapter_that_is_not_applied_is_caught(
    engine: Engine, m1: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.close()
    monkeypatch.setattr(TransformersEngine, "_load_adapter", load_nothing)
    monkeypatch.setattr(VllmProcess, "_adapter", lambda self, policy: None)
    with pytest.raises(LineageError, match=LIES):
        answers(VerifiedEngine(engine), m1)


def test_another_adapter_in_its_place_is_caught(
    engine: Engine, policies: list[Policy], m1: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.close()
    adapter, load = VllmProcess._adapter, TransformersEngine._load_adapter

    def load_stale(self: TransformersEngine, policy: Policy) -> None:
        stale = dataclasses.replace(policy, adapter=policies[2].adapter)
        load(self, stale)
        self._model.set_adapter(stale.fingerprint)
        monkeypatch.setattr(self._model, "set_adapter", lambda name: None)

    monkeypatch.setattr(TransformersEngine, "_load_adapter", load_stale)
    monkeypatch.setattr(VllmProcess, "_adapter", lambda self, policy: adapter(self, policies[2]))
    with pytest.raises(LineageError, match=LIES):
        answers(VerifiedEngine(engine), m1)
