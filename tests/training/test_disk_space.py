"""Room on the disk, looked at before a training's first step."""

from __future__ import annotations

import logging
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from iterdpo.errors import UserError
from iterdpo.store.tables import read_records
from iterdpo.training.disk_space import Writes, writes
from iterdpo.training.spec import DpoSpec, PairExample
from iterdpo.training.train import train
from tests.training.conftest import BaseOf, MakeLessons, MakeSpec

GB = 10**9
DISK = namedtuple("DISK", ["total", "used", "free"])
# 6 pairs in batches of 2: 3 steps an epoch.
STEPS = {"batch_size": 2, "micro_batch_size": 2, "checkpoint_steps": 1}


@pytest.mark.parametrize(
    ("optimizer", "due", "resumed", "expected"),
    [
        # 8 billion weights of 4 bytes. A checkpoint: the weights and Adam's two moments of each.
        ("adamw_torch", 1, False, Writes(32 * GB, 96 * GB, 128 * GB)),
        ("adamw_torch", 2, False, Writes(32 * GB, 96 * GB, 192 * GB)),
        ("adamw_torch_fused", 9, False, Writes(32 * GB, 96 * GB, 192 * GB)),
        # One is there: a newer one comes beside it.
        ("adamw_torch", 9, True, Writes(32 * GB, 0, 96 * GB)),
        ("adamw_torch", 0, False, Writes(32 * GB, 0, 32 * GB)),
        ("adamw_torch", 0, True, Writes(32 * GB, 0, 32 * GB)),
        # A byte a moment.
        ("paged_adamw_8bit", 2, False, Writes(32 * GB, 48 * GB, 96 * GB)),
        ("paged_adamw_32bit", 1, False, Writes(32 * GB, 96 * GB, 128 * GB)),
        ("lion_8bit", 1, False, Writes(32 * GB, 40 * GB, 72 * GB)),
        ("sgd", 1, False, Writes(32 * GB, 32 * GB, 64 * GB)),
    ],
)
def test_what_a_training_of_8_billion_weights_writes(
    optimizer: str, due: int, resumed: bool, expected: Writes
) -> None:
    found = writes(32 * GB, 8 * GB, optimizer, due, resumed)
    assert found == expected
    assert found.least <= found.at_once


@pytest.fixture
def make_kept(make_spec: MakeSpec, base_of: BaseOf, tmp_path: Path) -> MakeSpec:
    """A function that asks for a training that keeps checkpoints, of an adapter or all weights."""

    def make(full: bool = True, **changes: Any) -> DpoSpec:
        base = base_of("none")
        whole = {"lora": None, "reference_adapter": None, "reference_base": base} if full else {}
        return make_spec(**(STEPS | whole | changes), checkpoints=str(tmp_path / "kept"))

    return make


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """A function that has the disk say how much of it is free."""

    def get(size: int) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda place: DISK(size, 0, size))

    return get


def size_of(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


@pytest.mark.parametrize("optimizer", ["adamw_torch", "sgd"])
def test_a_checkpoint_is_as_large_as_foretold(
    make_kept: MakeSpec, optimizer: str, tmp_path: Path
) -> None:
    spec = make_kept(optimizer=optimizer)
    train(spec, tmp_path / "out")
    weights = (tmp_path / "out" / "model" / "model.safetensors").stat().st_size
    foretold = writes(weights, weights // 4, optimizer, 2)
    (kept,) = (tmp_path / "kept").iterdir()
    # The rest is names, random generators and the state of the schedule.
    assert foretold.checkpoint < size_of(kept) + 2**16 < foretold.checkpoint + 2**17
    assert foretold.checkpoint > 200_000


def test_a_training_without_room_for_its_result_ends_before_it_begins(
    make_kept: MakeSpec, free: Callable[[int], None], tmp_path: Path
) -> None:
    spec = make_kept(epochs=2)
    free(0)
    advanced: list[int] = []
    with pytest.raises(UserError) as error:
        train(spec, tmp_path / "out", lambda done, total: advanced.append(done))
    said = str(error.value)
    assert "\n" not in said
    assert f"{tmp_path}: training needs " in said
    assert "0 B are free: make room, or name another store, store.root=DIR" in said
    assert "training.checkpoint_steps=null keeps none" in said
    assert not advanced
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize("full", [True, False])
def test_between_least_and_most_a_warning_says_what_is_missing(
    make_kept: MakeSpec,
    free: Callable[[int], None],
    tmp_path: Path,
    full: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    spec = make_kept(full)
    free(2**60)
    with caplog.at_level(logging.WARNING):
        train(spec, tmp_path / "first")
    assert "checkpoints need" not in caplog.text
    (file,) = (tmp_path / "first").rglob("*.safetensors")
    shutil.rmtree(tmp_path / "kept")
    # A little above the weights with their names, and as much again with Adam's moments.
    free(4 * file.stat().st_size + 1)
    with caplog.at_level(logging.WARNING):
        train(spec, tmp_path / "second")
    assert f"{tmp_path}: " in caplog.text
    assert "checkpoints need" in caplog.text
    assert "training.checkpoint_steps=1" in caplog.text
    shutil.rmtree(tmp_path / "kept")
    free(2 * file.stat().st_size)
    with pytest.raises(UserError, match=r"for a checkpoint with the optimizer's state"):
        train(spec, tmp_path / "third")
    # The same room does for a training that keeps no checkpoint.
    train(make_kept(full, checkpoint_steps=None), tmp_path / "third")


def test_fine_tuning_names_its_own_settings(
    make_sft_spec: MakeLessons, free: Callable[[int], None], tmp_path: Path
) -> None:
    spec = make_sft_spec(checkpoints=str(tmp_path / "kept"), checkpoint_steps=1)
    free(0)
    with pytest.raises(UserError, match=r"sft\.checkpoint_steps=null"):
        train(spec, tmp_path / "out")


def test_where_no_checkpoints_are_kept_nothing_is_looked_at(
    make_kept: MakeSpec, make_spec: MakeSpec, free: Callable[[int], None], tmp_path: Path
) -> None:
    free(0)
    spec = make_spec(**STEPS)
    assert len(read_records(Path(spec.examples), PairExample)) == 6
    assert train(spec, tmp_path / "out")["steps"] == 3
