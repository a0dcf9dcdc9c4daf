"""What of an iteration's pairs a training is given."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from iterdpo.engines.base import Engine
from iterdpo.errors import UserError
from iterdpo.models.canary import CANARY_FILE
from iterdpo.records import Base, Candidate, FinishReason, Pair, Policy
from iterdpo.stages import train as learning
from iterdpo.stages.base import Metrics
from iterdpo.stages.train import Train
from iterdpo.store.stage import Work
from iterdpo.store.tables import read_records
from iterdpo.training.spec import PairExample
from tests.training.conftest import TRAINING

BASE = Base("/none", "0" * 64, "none", "float32", "/none")


def answered(number: int, prompt_tokens: int) -> tuple[Pair, list[Candidate]]:
    """Return a pair of answers of 2 tokens to a prompt of so many."""
    answers = [
        Candidate(
            f"{number}{side}", f"p{number}", index, side, tuple(range(prompt_tokens)), (7, 8),
            (-1.0, -1.0), FinishReason.STOP, "m", 0,
        )
        for index, side in enumerate("cr")
    ]  # fmt: skip
    ids = [answer.id for answer in answers]
    return Pair(
        f"{number}", f"p{number}", ids[0], ids[1], "x", "c", "r", 2.0, 1.0, "m", "j"
    ), answers


def stored(value: Any) -> Any:
    """Return what stands for a ``Stored``: as much of it as a training looks at."""
    return SimpleNamespace(value=value)


Learned = tuple[Metrics, list[PairExample]]


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Learned]:
    """A function from lengths of prompts to the metrics of a training and what it was given."""
    seen: list[PairExample] = []

    def note(spec: Any, out: Any, description: Any, stop: Any) -> Any:
        seen[:] = read_records(spec.examples, PairExample)
        (out / CANARY_FILE).write_text(
            json.dumps({"texts": [], "noise": 0.0, "floor": 1e-5, "groups": 2})
        )
        step0 = {"loss": 0.0, "expected_loss": 0.0, "largest_reward": 0.0}
        return {"pairs": len(seen), "steps": 1, "step0": step0, "history": [{"loss": 0.0}]}

    monkeypatch.setattr(learning, "run_training", note)

    def train(lengths: Sequence[int], max_length: int | None) -> Learned:
        made = [answered(number, length) for number, length in enumerate(lengths)]
        pairs = SimpleNamespace(kept=[pair for pair, _ in made])
        candidates = [answer for _, answers in made for answer in answers]
        step = Train(
            lora=None,
            training=dataclasses.replace(TRAINING, max_length=max_length),
            attention=None,
            trust_remote_code=False,
            seed=0,
            engine=cast("Engine", SimpleNamespace(sleep=lambda: None, wake=lambda: None)),
            max_engine_gap=None,
        )
        m0 = stored(Policy("M0", BASE))
        work = Work(tmp_path, tmp_path / "kept", "key")
        return step.compute(work, 1, m0, m0, stored(pairs), stored(candidates)), seen

    return train


def test_a_pair_whose_prompt_leaves_no_room_is_not_trained_on(
    trained: Callable[..., Learned], caplog: pytest.LogCaptureFixture
) -> None:
    metrics, seen = trained([3, 4, 5, 9], max_length=5)
    assert [len(example.prompt_ids) for example in seen] == [3, 4]
    assert (metrics["pairs"], metrics["prompts_too_long"]) == (2, 2)
    said = "training.max_length=5: the prompts of 2 of 4 pairs of iteration 1 leave no room"
    assert said in caplog.text
    for lengths, longest in (([3, 4], 5), ([9], None)):
        metrics, seen = trained(lengths, max_length=longest)
        assert (len(seen), metrics["prompts_too_long"]) == (len(lengths), 0)


def test_without_a_pair_that_has_room_the_setting_is_named(trained: Callable[..., Learned]) -> None:
    with pytest.raises(
        UserError, match=r"^training\.max_length=5: the prompts of 1 of 1 .*raise it"
    ):
        trained([5], max_length=5)
