"""Memory that runs out: micro batches in parts that add up to the whole."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load
from trl import DPOTrainer

from iterdpo.errors import UserError
from iterdpo.models.out_of_memory import is_out_of_memory
from iterdpo.models.token_logprobs import answer_logprobs
from iterdpo.store.tables import read_records, write_records
from iterdpo.training import canary, memory
from iterdpo.training.spec import PairExample
from iterdpo.training.train import train
from tests.training.conftest import Files, MakeSpec, Whole

WEIGHTS = "adapter/adapter_model.safetensors"
# Plain gradient descent: Adam would divide rounding errors of tiny gradients by themselves.
PLAIN = {"optimizer": "sgd", "learning_rate": 1.0}
MIXED = {"loss": ("sigmoid", "sft"), "loss_weights": (1.0, 0.5)}


def close(one: bytes, other: bytes) -> None:
    ours, theirs = load(one), load(other)
    assert ours.keys() == theirs.keys()
    moved = max(float(tensor.abs().max()) for name, tensor in theirs.items() if "lora_B" in name)
    assert moved > 1e-3
    for name, tensor in ours.items():
        assert torch.allclose(tensor, theirs[name], rtol=1e-4, atol=1e-6), name


@pytest.fixture
def small_memory(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """A function that lets memory run out for more pairs than a number, and says what it saw."""
    real: Any = DPOTrainer.compute_loss

    def limit(
        pairs: int,
        error: type[Exception] = torch.OutOfMemoryError,
        text: str = "CUDA out of memory.",
    ) -> list[int]:
        sizes: list[int] = []

        def compute_loss(self: Any, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            sizes.append(len(inputs["input_ids"]) // 2)
            if sizes[-1] > pairs:
                raise error(text)
            return real(self, model, inputs, *args, **kwargs)

        monkeypatch.setattr(DPOTrainer, "compute_loss", compute_loss)
        return sizes

    return limit


@pytest.mark.parametrize(
    "changes",
    [
        {},
        MIXED,
        {"loss": ("ipo",), "quantization": "nf4", "gradient_checkpointing": True},
    ],
)
def test_micro_batches_are_halved_until_they_fit_and_the_steps_stay_the_same(
    make_spec: MakeSpec,
    whole: Whole,
    files: Files,
    small_memory: Callable[..., list[int]],
    tmp_path: Path,
    changes: dict[str, Any],
) -> None:
    spec = make_spec(**(changes | PLAIN), pairs=7, batch_size=5, micro_batch_size=5, epochs=2)
    uneven = [
        dataclasses.replace(
            example,
            chosen_ids=example.chosen_ids[: 1 + number],
            chosen_logprobs=example.chosen_logprobs[: 1 + number],
        )
        for number, example in enumerate(read_records(Path(spec.examples), PairExample))
    ]
    write_records(Path(spec.examples), PairExample, uneven)
    undisturbed = whole(spec)
    sizes = small_memory(2)
    report = train(spec, tmp_path / "out")
    assert report["micro_batch_size"] == [5, 3, 2]
    assert sizes == [5, 3, 2, 2, 1, 2, 2, 2, 1, 2]
    close(files(tmp_path / "out")[WEIGHTS], undisturbed[WEIGHTS])
    expected = json.loads(undisturbed["training.json"])
    for name, value in expected["step0"].items():
        assert report["step0"][name] == pytest.approx(value, rel=1e-4, abs=1e-4)
    assert [entry["loss"] for entry in report["history"]] == pytest.approx(
        [entry["loss"] for entry in expected["history"]], rel=1e-4
    )
    assert "micro_batch_size" not in expected


def test_the_cpus_own_error_counts_as_well(
    make_spec: MakeSpec, small_memory: Callable[..., list[int]], tmp_path: Path
) -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**55)
    assert is_out_of_memory(raised.value)
    small_memory(1, RuntimeError, str(raised.value))
    assert train(make_spec(), tmp_path)["micro_batch_size"] == [3, 2, 1]


def test_other_errors_come_through(
    make_spec: MakeSpec, small_memory: Callable[..., list[int]], tmp_path: Path
) -> None:
    small_memory(1, RuntimeError, "something else")
    with pytest.raises(RuntimeError, match="something else"):
        train(make_spec(), tmp_path)


@pytest.mark.parametrize(
    ("failing", "expected"),
    [
        (1, [2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]),
        (5, [2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1]),  # the second of the second step's three
    ],
)
def test_memory_that_runs_out_within_a_step_counts_nothing_twice(
    make_spec: MakeSpec,
    whole: Whole,
    files: Files,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    failing: int,
    expected: list[int],
) -> None:
    spec = make_spec(**PLAIN, pairs=12, batch_size=6, micro_batch_size=2)
    undisturbed = whole(spec)
    real: Any = DPOTrainer.training_step
    calls: list[int] = []

    def training_step(self: Any, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(len(inputs["input_ids"]) // 2)
        if len(calls) != failing:
            return real(self, model, inputs, *args, **kwargs)
        # In the backward pass, when half of the weights have their share of the gradient.
        trained = [weight for weight in model.parameters() if weight.requires_grad]
        reached: list[int] = []

        def fail(weight: Any) -> None:
            reached.append(1)
            if len(reached) == len(trained) // 2:
                raise torch.OutOfMemoryError("CUDA out of memory.")

        hooks = [weight.register_post_accumulate_grad_hook(fail) for weight in trained]
        try:
            return real(self, model, inputs, *args, **kwargs)
        finally:
            assert len(reached) == len(trained) // 2
            for hook in hooks:
                hook.remove()

    monkeypatch.setattr(DPOTrainer, "training_step", training_step)
    report = train(spec, tmp_path / "out")
    assert report["micro_batch_size"] == [2, 1]
    assert calls == expected
    close(files(tmp_path / "out")[WEIGHTS], undisturbed[WEIGHTS])
    before = json.loads(undisturbed["training.json"])
    assert report["step0"]["loss"] == pytest.approx(before["step0"]["loss"], rel=1e-5)
    if failing > 3:
        assert report["history"][0] == before["history"][0]  # done before memory ran out
    for ours, theirs in zip(report["history"], before["history"], strict=True):
        assert ours.keys() == theirs.keys()
        for name in ours.keys() - {"entropy"}:  # a mean over tokens
            assert ours[name] == pytest.approx(theirs[name], rel=1e-4, abs=1e-6), name


def test_the_smaller_size_is_kept_when_a_stopped_training_goes_on(
    make_spec: MakeSpec, files: Files, small_memory: Callable[..., list[int]], tmp_path: Path
) -> None:
    spec = make_spec(epochs=3, checkpoints=str(tmp_path / "kept"), checkpoint_steps=1)
    sizes = small_memory(2)
    train(dataclasses.replace(spec, checkpoints=None), tmp_path / "whole")

    def stop(done: int, total: int) -> None:
        if done == 4:
            raise SystemExit

    with pytest.raises(SystemExit):
        train(spec, tmp_path / "first", stop)
    sizes.clear()
    train(spec, tmp_path / "again")
    assert max(sizes) == 2
    assert files(tmp_path / "again") == files(tmp_path / "whole")


@pytest.mark.parametrize(
    ("micro", "changes", "message"),
    [
        (
            1,
            {},
            r"step 1 on a single pair, padded to \d+ tokens: try .*gradient_checkpointing=true",
        ),
        (3, {"loss": ("aot",)}, r"3 pairs .* aot compares them all.*training\.micro_batch_size"),
    ],
)
def test_what_cannot_be_halved_is_told_to_the_user(
    make_spec: MakeSpec,
    small_memory: Callable[..., list[int]],
    tmp_path: Path,
    micro: int,
    changes: dict[str, Any],
    message: str,
) -> None:
    small_memory(0)
    with pytest.raises(UserError, match=message):
        train(make_spec(micro_batch_size=micro, **changes), tmp_path)


def test_memory_that_runs_out_elsewhere_is_told_to_the_user(
    make_spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(*args: Any, **kwargs: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    with pytest.raises(UserError, match=r"out of memory \(CUDA out of memory\.\): try a shorter"):
        train(make_spec(), tmp_path)


def test_the_canary_is_measured_in_smaller_portions(
    make_spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[int] = []

    def limited(model: Any, texts: Any) -> Any:
        rows.append(len(texts))
        if rows[-1] > 4:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return answer_logprobs(model, texts)

    report = train(make_spec(), tmp_path / "whole")
    monkeypatch.setattr(canary, "answer_logprobs", limited)
    assert train(make_spec(), tmp_path / "small") == report
    assert rows == [12, 6, 3, 3, 3, 3] * 2  # before and after
    for one, other in zip(
        *(json.loads((tmp_path / name / "canary.json").read_text())["texts"]
          for name in ("whole", "small")), strict=True,
    ):  # fmt: skip
        assert one["before"] == pytest.approx(other["before"], abs=1e-5)
        assert one["after"] == pytest.approx(other["after"], abs=1e-5)


def batch(*tokens: tuple[int, int]) -> dict[str, torch.Tensor]:
    """A micro batch of pairs with so many tokens in the chosen and the rejected answer."""
    masks = [
        [0] + [1] * many + [0] * (9 - many)
        for many in [chosen for chosen, _ in tokens] + [rejected for _, rejected in tokens]
    ]
    mask = torch.tensor(masks)
    return {"input_ids": torch.arange(mask.numel()).view(mask.shape), "completion_mask": mask}


def test_parts_hold_every_pair_once_and_weigh_by_pairs_or_tokens() -> None:
    whole = batch((4, 1), (2, 1), (0, 1), (2, 3), (8, 3))
    parts = list(memory.split(whole, 2, ["sigmoid", "sft"], [1.0, 0.5]))
    assert [part.weights for part in parts] == [
        [pytest.approx(2 / 5), pytest.approx(0.5 * 6 / 16)],
        [pytest.approx(2 / 5), pytest.approx(0.5 * 2 / 16)],
        [pytest.approx(1 / 5), pytest.approx(0.5 * 8 / 16)],
    ]
    for name, tensor in whole.items():
        halves = [part.inputs[name].chunk(2) for part in parts]
        assert torch.equal(
            torch.cat([x for half in zip(*halves, strict=True) for x in half]), tensor
        )


def test_a_part_without_tokens_has_no_mean_over_tokens() -> None:
    parts = list(memory.split(batch((0, 1), (3, 1)), 1, ["sigmoid", "sft"], [1.0, 0.5]))
    assert [(part.losses, part.weights) for part in parts] == [
        (["sigmoid"], [0.5]), (["sigmoid", "sft"], [0.5, 0.5]),
    ]  # fmt: skip
    assert [part.losses for part in memory.split(batch((0, 1), (3, 1)), 1, ["sft"], [1.0])] == [
        ["sft"]
    ]
    # As for the whole: the mean over no tokens.
    (one, two) = memory.split(batch((0, 1), (0, 1)), 1, ["sft"], [1.0])
    assert math.isnan(one.weights[0])
    assert math.isnan(two.weights[0])


def test_two_micro_batches_of_four_are_one_of_eight(make_spec: MakeSpec, tmp_path: Path) -> None:
    """TRL's loss is the mean of a micro batch, and transformers divides by how many there are."""
    for micro in (4, 8):
        spec = make_spec(**PLAIN, pairs=8, batch_size=8, micro_batch_size=micro, epochs=3)
        report = train(spec, tmp_path / str(micro))
        assert report["steps"] == 3
    four, eight = ((tmp_path / str(micro) / WEIGHTS).read_bytes() for micro in (4, 8))
    assert four != eight
    close(four, eight)
