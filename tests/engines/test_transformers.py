"""The transformers engine where memory runs out: the same values, or a line with what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from iterdpo.engines import transformers
from iterdpo.engines.base import ChoiceLogprobs, Sampling, TokenSequence
from iterdpo.engines.transformers import TransformersEngine, TransformersSettings
from iterdpo.errors import UserError
from iterdpo.models.chat_messages import Request
from iterdpo.models.token_logprobs import answer_logprobs
from iterdpo.records import Base, Policy
from tests.checkpoints import CheckpointOf

TEXTS = [TokenSequence((1, 7, 9), (3,) * length) for length in (4, 1, 6, 2, 5)]
QUESTIONS = [Request.of(text) for text in ("a", "Name three animals.", "0 1 2", "x y", "done")]


@pytest.fixture
def policy(checkpoint_of: CheckpointOf) -> Policy:
    place = str(checkpoint_of("llama"))
    return Policy("M0", Base(place, "0", "none", "float32", place))


@pytest.fixture
def engine() -> TransformersEngine:
    return TransformersEngine(TransformersSettings(device="cpu"))


def with_room(compute: Callable[..., Any], rows: int, sizes: list[int]) -> Callable[..., Any]:
    """Return ``compute`` of a batch, its last argument, on a card with room for so many rows."""

    def limited(*args: Any) -> Any:
        sizes.append(len(args[-1]))
        if sizes[-1] > rows:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return compute(*args)

    return limited


def test_texts_are_scored_in_smaller_portions_where_memory_runs_out(
    engine: TransformersEngine, policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, read = engine.sequence_logprobs(TEXTS, policy), engine.usage.prompt_tokens
    sizes: list[int] = []
    limited = with_room(answer_logprobs, 2, sizes)
    monkeypatch.setattr(transformers, "answer_logprobs", limited)
    parts = engine.sequence_logprobs(TEXTS, policy)
    assert sizes == [5, 2, 2, 1]
    assert engine.usage.prompt_tokens == 2 * read
    for one, other in zip(whole, parts, strict=True):
        assert one == pytest.approx(other, abs=1e-5)


def test_choices_are_weighed_in_smaller_portions_where_memory_runs_out(
    engine: TransformersEngine, policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = list(engine.choice_logprobs(QUESTIONS, ("0", "1"), policy))
    sizes: list[int] = []
    limited = with_room(engine._next_token_logprobs, 2, sizes)
    monkeypatch.setattr(engine, "_next_token_logprobs", limited)
    parts = list(engine.choice_logprobs(QUESTIONS, ("0", "1"), policy))
    assert sizes == [5, 2, 2, 1]
    for one, other in zip(whole, parts, strict=True):
        assert isinstance(one, ChoiceLogprobs)
        assert isinstance(other, ChoiceLogprobs)
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-5)


def test_answers_that_do_not_fit_side_by_side_are_a_line_with_what_to_lower(
    engine: TransformersEngine, policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_memory(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(transformers, "sample", out_of_memory)
    with pytest.raises(UserError, match=r"^engine=transformers ran out .* lower engine\.transf"):
        list(engine.generate(QUESTIONS, policy, Sampling(max_tokens=2)))
    monkeypatch.setattr(transformers, "answer_logprobs", out_of_memory)
    with pytest.raises(UserError, match=r"^engine=transformers ran out of memory \(CUDA out of"):
        engine.sequence_logprobs(TEXTS, policy)
