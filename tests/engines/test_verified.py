from __future__ import annotations

import dataclasses
import json

import pytest

from iterdpo.engines.base import Request, Sampling
from iterdpo.engines.scripted import ScriptedEngine
from iterdpo.engines.verified import VerifiedEngine, judge_canary
from iterdpo.errors import LineageError
from iterdpo.records import Adapter, Base, Policy
from iterdpo.training.spec import Canary, CanaryText

TEXTS = (CanaryText((1,), (2, 3), before=-2.0, after=-1.0), CanaryText((1,), (4,), -3.0, -6.0))


@pytest.mark.parametrize(
    ("measured", "noise", "outcome"),
    [
        ((-1.0, -6.0), 0.0, "applied"),
        ((-2.0, -3.0), 0.0, "not_applied"),
        ((-1.1, -5.5), 0.1, "applied"),
        ((-1.0, -6.0), 0.7, "inconclusive"),  # texts moved by 2 on average, not by 3 x 0.7
    ],
)
def test_the_canary_tells_after_from_before(measured, noise, outcome):
    assert judge_canary(Canary(TEXTS, noise), measured).outcome == outcome


def test_distances_are_means_over_the_texts():
    result = judge_canary(Canary(TEXTS, 0.5), (-1.5, -6.0))
    assert (result.moved, result.to_after, result.to_before) == (2.0, 0.25, 1.75)


class Measuring(ScriptedEngine):
    """A scripted engine that is to report fixed log-probs for the canary's texts."""

    values: tuple[float, ...] = ()

    def sequence_logprobs(self, sequences, policy):
        super().sequence_logprobs(sequences, policy)
        return list(self.values)


@pytest.fixture
def policy(tmp_path):
    canary = Canary(TEXTS, 0.01)
    (tmp_path / "canary.json").write_text(json.dumps(dataclasses.asdict(canary)))
    base = Base("b", "0", "none", "float32", "b")
    return Policy("M2", base, Adapter(str(tmp_path / "adapter"), "abc"))


def engine_measuring(*values: float) -> VerifiedEngine:
    inner = Measuring(answer=lambda request, policy, sample: "x")
    inner.values = values
    return VerifiedEngine(inner)


def test_an_engine_that_applies_the_adapter_writes_and_is_asked_once(policy):
    engine = engine_measuring(-1.0, -6.0)
    for _ in range(2):
        assert len(list(engine.generate([Request.of("a")], policy, Sampling()))) == 1
    methods = [method for method, *_ in engine.engine.calls]
    assert methods == ["sequence_logprobs", "generate", "generate"]
    assert engine.results[policy.fingerprint].outcome == "applied"


@pytest.mark.parametrize("method", ["generate", "choice_logprobs"])
def test_an_engine_with_the_old_adapter_writes_and_judges_nothing(policy, method):
    engine = engine_measuring(-2.0, -3.0)
    argument = Sampling() if method == "generate" else ["0"]
    call = getattr(engine, method)
    arguments = (policy, argument) if method == "generate" else (argument, policy)
    with pytest.raises(LineageError, match="does not apply the adapter of M2"):
        list(call([Request.of("a")], *arguments))
    assert [called for called, *_ in engine.engine.calls] == ["sequence_logprobs"]


def test_after_a_wake_the_canary_runs_again(policy):
    engine = engine_measuring(-1.0, -6.0)
    engine.verify(policy)
    engine.sleep()
    engine.wake()
    engine.verify(policy)
    assert [method for method, *_ in engine.engine.calls].count("sequence_logprobs") == 2


def test_the_bare_base_needs_no_canary(policy):
    engine = engine_measuring()
    list(engine.generate([Request.of("a")], Policy("M0", policy.base), Sampling()))
    assert [method for method, *_ in engine.engine.calls] == ["generate"]
