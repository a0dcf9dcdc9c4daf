from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from iterdpo.engines.base import Sampling, TokenSequence
from iterdpo.engines.canary import judge_texts
from iterdpo.engines.scripted import ScriptedEngine
from iterdpo.engines.verified import VerifiedEngine
from iterdpo.errors import LineageError
from iterdpo.models.canary import Canary, CanaryText
from iterdpo.models.chat_messages import Request
from iterdpo.records import Adapter, Base, Policy

TEXTS = (
    CanaryText((1,), (2, 3), before=(-1.5, -0.5), after=(-0.75, -0.25), engine=(-1.5, -0.5)),
    CanaryText((1,), (4,), (-3.0,), (-6.0,), (-3.0,)),
)


BEFORE, AFTER = (-2.0, -3.0), (-1.0, -6.0)


@pytest.mark.parametrize(
    ("measured", "noise", "outcome", "astray"),
    [
        ((-1.0, -6.0), 0.0, "applied", 0),
        ((-1.09, -5.71), 0.0, "applied", 0),  # within a tenth of the movements, 1 and 3
        ((-1.2, -5.7), 0.1, "applied", 0),  # within 3 x 0.1
        ((-2.0, -3.0), 0.0, "other", 2),
        ((-1.0, -3.0), 0.0, "mixed", 1),  # one row by each policy
        ((-1.0, -9.0), 0.0, "neither", 1),
        ((-4.0, -6.0), 0.4, "applied", 0),  # the first text moved by 1 only, less than 3 x 0.4
        ((-4.0, -3.0), 0.4, "other", 1),
        ((-1.0, -6.0), 1.1, "inconclusive", 0),
    ],
)
def test_the_canary_tells_the_policies_apart(
    measured: tuple[float, float], noise: float, outcome: str, astray: int
) -> None:
    result = judge_texts(AFTER, BEFORE, noise, measured)
    assert (result.outcome, result.astray) == (outcome, astray)


def test_distances_are_means_over_the_texts() -> None:
    result = judge_texts(AFTER, BEFORE, 0.2, (-1.5, -6.0))
    assert (result.moved, result.to_claimed, result.to_other) == (2.0, 0.25, 1.75)


class Measuring(ScriptedEngine):
    """A scripted engine that is to report fixed log-probs for the canary's texts."""

    values: tuple[float, ...] = ()

    def sequence_logprobs(
        self, sequences: Sequence[TokenSequence], policy: Policy
    ) -> list[tuple[float, ...]]:
        super().sequence_logprobs(sequences, policy)
        first, *rest = self.values
        return [(0.75 * first, 0.25 * first), *((value,) for value in rest)]


@pytest.fixture
def policy(tmp_path: Path) -> Policy:
    canary = Canary(TEXTS, 0.01, 0.005, 1)
    (tmp_path / "canary.json").write_text(json.dumps(dataclasses.asdict(canary)))
    base = Base("b", "0", "none", "float32", "b")
    parent = Policy("M1", base, Adapter("elsewhere/adapter", "ab"))
    return Policy("M2", base, Adapter(str(tmp_path / "adapter"), "abc"), parent.fingerprint)


def engine_measuring(*values: float) -> VerifiedEngine:
    inner = Measuring(answer=lambda request, policy, sample: "x")
    inner.values = values
    return VerifiedEngine(inner)


def methods(engine: VerifiedEngine) -> list[str]:
    """Return what the engine inside was asked for."""
    return [method for method, _, _ in scripted(engine).calls]


def scripted(engine: VerifiedEngine) -> ScriptedEngine:
    assert isinstance(engine.engine, ScriptedEngine)
    return engine.engine


def test_an_engine_that_applies_the_adapter_writes_and_is_asked_once(policy: Policy) -> None:
    engine = engine_measuring(-1.0, -6.0)
    for _ in range(2):
        assert len(list(engine.generate([Request.of("a")], policy, Sampling()))) == 1
    assert methods(engine) == ["sequence_logprobs", "generate", "generate"]
    assert engine.results[policy.fingerprint].outcome == "applied"


@pytest.mark.parametrize("method", ["generate", "choice_logprobs"])
@pytest.mark.parametrize(
    ("values", "said"),
    [
        ((-2.0, -3.0), "asked for M2 and answers like the policy before: the adapter is not appl"),
        ((-1.0, -3.0), "answers 1 of 2 of M2's texts like the policy before: it mixes two polic"),
        ((-1.0, -60.0), "answers neither like it nor like the policy before on 1 of 2 texts"),
    ],
)
def test_an_engine_that_lies_about_the_adapter_writes_and_judges_nothing(
    policy: Policy, method: str, values: tuple[float, float], said: str
) -> None:
    engine = engine_measuring(*values)
    argument = Sampling() if method == "generate" else ["0"]
    call = getattr(engine, method)
    arguments = (policy, argument) if method == "generate" else (argument, policy)
    with pytest.raises(LineageError, match=said):
        list(call([Request.of("a")], *arguments))
    assert methods(engine) == ["sequence_logprobs"]


def test_a_parent_is_proven_by_its_childs_canary_once_that_is_known(policy: Policy) -> None:
    parent = Policy("M1", policy.base, Adapter("elsewhere/adapter", "ab"))
    engine = engine_measuring(*AFTER)
    engine.verify(parent)  # nothing is known of it yet
    engine.verify(policy)
    with pytest.raises(LineageError, match="asked for M1 and answers like M2"):
        engine.verify(parent)
    inner = engine.engine
    assert isinstance(inner, Measuring)
    inner.values = BEFORE
    engine.verify(parent)
    assert engine.results[parent.fingerprint].outcome == "applied"


@pytest.mark.parametrize("sleeps", [True, False])
def test_after_a_real_sleep_the_canary_runs_again(
    policy: Policy, sleeps: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Measuring, "sleep", lambda self: sleeps)
    engine = engine_measuring(-1.0, -6.0)
    engine.verify(policy)
    engine.sleep()
    engine.wake()
    engine.verify(policy)
    calls = methods(engine)
    assert calls.count("sequence_logprobs") == (2 if sleeps else 1)


UNMOVED = tuple(CanaryText((9,), (n,), (-3.0,), (-3.01,), (-3.0,)) for n in range(3))


class Loading(ScriptedEngine):
    """Holds one base at a time and counts its loads; a stuck one keeps what it holds."""

    held: str | None = None
    stuck = False

    def sequence_logprobs(
        self, sequences: Sequence[TokenSequence], policy: Policy
    ) -> list[tuple[float, ...]]:
        super().sequence_logprobs(sequences, policy)
        if policy.base.sha256 != self.held:
            self.starts += 1
            self.held = self.held if self.stuck else policy.base.sha256
        known = {text.token_ids: text for text in (*TEXTS, *UNMOVED)}
        texts = [known[sequence.token_ids] for sequence in sequences]
        return [text.before if self.held == "0" else text.after for text in texts]


@pytest.fixture
def checkpoints(tmp_path: Path) -> tuple[Policy, Policy]:
    """Two policies that are checkpoints of their own: the second was trained from the first."""
    first = Policy("M0", Base("b", "0", "none", "float32", "b"))
    place = tmp_path / "checkpoint"
    base = Base(str(place), "1", "none", "float32", str(place))
    second = Policy("M1", base, parent=first.fingerprint)
    leave_canary(second, TEXTS)
    return first, second


def leave_canary(policy: Policy, texts: Sequence[CanaryText]) -> None:
    place = policy.trained_in
    assert place is not None
    place.mkdir(exist_ok=True)
    canary = dataclasses.asdict(Canary(tuple(texts), 0.01, 0.005, 1))
    (place / "canary.json").write_text(json.dumps(canary))


def loading() -> VerifiedEngine:
    return VerifiedEngine(Loading(answer=lambda request, policy, sample: "x"))


def asked(engine: VerifiedEngine) -> list[int]:
    """Return how many texts each canary had that the engine was asked for."""
    return [count for method, _, count in scripted(engine).calls if method == "sequence_logprobs"]


def test_each_load_of_other_weights_is_proven_by_one_canary(
    checkpoints: tuple[Policy, Policy],
) -> None:
    first, second = checkpoints
    engine, counts = loading(), []
    for policy in (second, second, first, first, second, second, first, second):
        engine.verify(policy)
        counts.append(len(asked(engine)))
    assert counts == [1, 1, 2, 2, 3, 3, 4, 5]
    assert engine.starts == 1 + 5


def test_after_a_load_only_the_most_telling_canary_is_asked_again(
    checkpoints: tuple[Policy, Policy], tmp_path: Path
) -> None:
    first, second = checkpoints
    base = Base("c", "2", "none", "float32", str(tmp_path / "other" / "checkpoint"))
    other = Policy("M1", dataclasses.replace(base, path=base.dequantized), parent=first.fingerprint)
    leave_canary(other, (TEXTS[0], *UNMOVED))
    engine = loading()
    engine.verify(other)
    engine.verify(first)
    engine.verify(second)
    assert asked(engine) == [4, 4, 2]
    engine.verify(first)  # the second's canary is new to it
    engine.verify(second)
    engine.verify(first)  # and from now on only that one: two of its texts tell, one of the other's
    assert asked(engine) == [4, 4, 2, 2, 2, 2]


def test_a_load_that_leaves_the_old_weights_in_place_is_found(
    checkpoints: tuple[Policy, Policy],
) -> None:
    first, second = checkpoints
    engine = loading()
    engine.verify(second)
    engine.verify(first)
    inner = engine.engine
    assert isinstance(inner, Loading)
    inner.stuck = True
    with pytest.raises(LineageError, match="asked for M1 and answers like the policy before"):
        engine.verify(second)


def test_an_engine_that_was_closed_and_is_asked_again_proves_itself_again(policy: Policy) -> None:
    engine = engine_measuring(-1.0, -6.0)
    engine.verify(policy)
    engine.close()
    engine.verify(policy)
    calls = methods(engine)
    assert calls.count("sequence_logprobs") == 2


def test_the_bare_base_needs_no_canary(policy: Policy) -> None:
    engine = engine_measuring()
    list(engine.generate([Request.of("a")], Policy("M0", policy.base), Sampling()))
    assert methods(engine) == ["generate"]
