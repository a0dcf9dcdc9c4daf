"""Trainings past saving: stopped before the bad update, and the good checkpoint left alone."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Trainer
from trl import DPOTrainer

from iterdpo.errors import UserError
from iterdpo.training.divergence import check_finite, check_loss
from iterdpo.training.resumable import ResumableTrainer
from iterdpo.training.spec import DpoSpec
from iterdpo.training.train import train
from tests.training.conftest import Files, MakeSpec, Whole


@pytest.fixture
def spec(make_spec: MakeSpec, tmp_path: Path) -> DpoSpec:
    return make_spec(epochs=2, checkpoints=str(tmp_path / "kept"), checkpoint_steps=1)


Spoil = Callable[[Any, Any], Any]


def spoil(monkeypatch: pytest.MonkeyPatch, step: int, how: Spoil) -> None:
    """Change the loss of one step, or of all from there on."""
    real: Any = DPOTrainer.compute_loss

    def compute_loss(self: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
        loss = real(self, model, *args, **kwargs)
        return how(model, loss) if self.state.global_step + 1 >= step else loss

    monkeypatch.setattr(DPOTrainer, "compute_loss", compute_loss)


def nan_loss(model: Any, loss: Any) -> Any:
    return loss * math.nan


def infinite_gradient(model: Any, loss: Any) -> Any:
    weight = next(weight for weight in model.parameters() if weight.requires_grad)
    weight.register_hook(lambda gradient: gradient + math.inf)
    return loss


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (nan_loss, r"at step 3: loss nan, gradient norm nan; lower training\.learning_rate"),
        (infinite_gradient, r"at step 3: loss 0\.\d+, gradient norm inf; lower"),
    ],
)
def test_a_step_that_is_no_number_is_not_taken_and_the_checkpoint_before_it_stays(
    spec: DpoSpec,
    whole: Whole,
    files: Files,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    how: Any,
    message: str,
) -> None:
    steps: list[int] = []
    with monkeypatch.context() as patch:
        spoil(patch, 3, how)
        with pytest.raises(UserError, match=message):
            train(spec, tmp_path / "first", lambda done, total: steps.append(done))
    assert steps == [1, 2]
    (kept,) = (tmp_path / "kept").iterdir()
    assert kept.name.endswith("-step-00000002")
    # It was an accident, and does not happen again.
    train(spec, tmp_path / "again", lambda done, total: steps.append(done))
    assert steps == [1, 2, 3, 4]
    assert files(tmp_path / "again") == whole(spec)


def test_measurements_that_are_no_numbers_are_named(
    spec: DpoSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Any = DPOTrainer.compute_loss

    def compute_loss(self: Any, *args: Any, **kwargs: Any) -> Any:
        loss = real(self, *args, **kwargs)
        self._metrics["train"]["logps/rejected"][-1] = -math.inf
        return loss

    monkeypatch.setattr(DPOTrainer, "compute_loss", compute_loss)
    with pytest.raises(UserError, match=r"at step 1: loss 0\.69\d+, .*, logps/rejected -inf;"):
        train(spec, tmp_path / "out")
    assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize("every", [1, None])
def test_weights_that_are_no_numbers_are_neither_kept_nor_saved(
    make_spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int | None
) -> None:
    real = torch.optim.AdamW.step

    def step(self: Any, *args: Any, **kwargs: Any) -> None:
        real(self, *args, **kwargs)
        self.param_groups[0]["params"][3].data[0, 0] = math.inf

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    spec = make_spec(
        batch_size=3 if every else 6, checkpoints=str(tmp_path / "kept"), checkpoint_steps=every
    )
    with pytest.raises(UserError, match=r"at step 1: loss 0\.69.* its update left .*lora_.*finite"):
        train(spec, tmp_path / "out")
    assert not (tmp_path / "kept").exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("rate", [1e20, 1e30])
def test_a_last_update_after_which_nothing_can_be_written_is_not_saved(
    make_spec: MakeSpec, tmp_path: Path, rate: float
) -> None:
    """The weights are finite, what they give is not, and there is no further step to show it."""
    spec = make_spec(batch_size=6, learning_rate=rate, warmup=0.0)
    with pytest.raises(
        UserError, match=r"at step 1: loss 0\.69.* log-probabilities are not finite"
    ):
        train(spec, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_loss_that_leaves_its_range_for_good_stops_the_training(
    make_spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec(epochs=6)  # of two steps
    spoil(monkeypatch, 7, lambda model, loss: loss * 100)
    with pytest.raises(UserError, match=r"at step 11: loss \d\d.* above 10 for 5 steps; lower"):
        train(spec, tmp_path / "out")


def history(*losses: float) -> list[dict[str, float]]:
    return [{"loss": loss, "grad_norm": 1.0} for loss in losses]


@pytest.mark.parametrize(
    "losses",
    [
        [0.69] * 5 + [99.0] * 4,  # not yet
        [0.69] * 5 + [99.0] * 4 + [1.0] + [99.0] * 4,  # it came back
        [0.69] * 5 + [9.9] * 20,  # bad, and no more than bad
        [0.001] * 5 + [2.0] * 20,  # began near 0, as hinge can
        [25.0] * 5 + [240.0] * 20,  # ipo begins at 25
        [900.0] * 3,
    ],
)
def test_a_loss_within_its_range_is_left_alone(make_spec: MakeSpec, losses: list[float]) -> None:
    check_loss(history(*losses), make_spec())


@pytest.mark.parametrize(
    "losses", [[0.69] * 5 + [10.1] * 5, [25.0] * 5 + [260.0] * 5, [0.69] * 50 + [11.0] * 5]
)
def test_a_loss_out_of_its_range_is_not(make_spec: MakeSpec, losses: list[float]) -> None:
    with pytest.raises(UserError, match="diverged at step"):
        check_loss(history(*losses), make_spec())


class Scaler:
    """Stands for float16's, which is made on GPUs alone."""

    def __init__(self, scale: float) -> None:
        self.scale = scale

    def get_scale(self) -> float:
        return self.scale


@pytest.mark.parametrize(("scale", "diverged"), [(65536.0, False), (1.0, True)])
def test_an_overflow_that_a_smaller_scale_would_mend_is_no_divergence(
    make_spec: MakeSpec,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    scale: float,
    diverged: bool,
) -> None:
    ours = ResumableTrainer._get_grad_norm
    theirs: Any = Trainer._get_grad_norm

    def overflows_once(self: Any, model: Any, grad_norm: Any = None) -> Any:
        norm = theirs(self, model, grad_norm)
        return norm * math.inf if self.state.global_step == 0 else norm

    def with_scaler(self: Any, model: Any, grad_norm: Any = None) -> Any:
        monkeypatch.setattr(self.accelerator, "scaler", Scaler(scale))
        norm = ours(self, model, grad_norm)
        monkeypatch.setattr(self.accelerator, "scaler", None)
        return norm

    monkeypatch.setattr(Trainer, "_get_grad_norm", overflows_once)
    monkeypatch.setattr(ResumableTrainer, "_get_grad_norm", with_scaler)
    if diverged:
        with pytest.raises(UserError, match=r"at step 1: loss 0\.69.*, gradient norm inf"):
            train(make_spec(), tmp_path)
        return
    history = train(make_spec(), tmp_path)["history"]
    assert ["grad_norm" in entry for entry in history] == [False, True]
    json.dumps(history, allow_nan=False)


def test_a_gradient_without_a_number_under_a_finite_loss_is_a_kernels_fault(
    make_spec: MakeSpec,
) -> None:
    with pytest.raises(UserError, match=r"gradient norm nan, a kernel's fault .*attention=eager"):
        check_finite({"loss": 0.69, "grad_norm": math.nan}, 3, make_spec())
    with pytest.raises(UserError) as caught:
        check_finite({"loss": math.nan, "grad_norm": math.nan}, 3, make_spec())
    assert "kernel" not in str(caught.value)
