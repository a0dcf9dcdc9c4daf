"""Checkpoints on disk: killed at every write, damaged in every way, and mixed with others'."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from iterdpo.store.atomic import remove_all_but_damaged
from iterdpo.store.hashing import sha256_of
from iterdpo.training.checkpoints import Checkpoint, Checkpoints, identity_of
from iterdpo.training.spec import DpoSpec
from tests.narrowing import present
from tests.training.conftest import MakeLessons, MakeSpec

IDENTITY = {"spec": "one"}


def fill_with(text: str) -> Callable[[Path], None]:
    def fill(work: Path) -> None:
        (work / "weights").write_text(text)
        (work / "state.json").write_text(json.dumps(text))

    return fill


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    return Checkpoints(tmp_path / "kept", IDENTITY)


def content(checkpoint: Checkpoint | None) -> tuple[int, str, str]:
    assert checkpoint is not None
    texts = [(checkpoint.directory / name).read_text() for name in ("weights", "state.json")]
    return checkpoint.step, texts[0], json.loads(texts[1])


class Killed(BaseException):
    pass


def kill_at(monkeypatch: pytest.MonkeyPatch, number: int) -> list[str]:
    """Die at the ``number``-th call that changes the disk or flushes it; return the calls."""
    calls: list[str] = []

    def killing(name: str) -> Any:
        real = getattr(os, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            calls.append(name)
            if len(calls) >= number:  # the dead do not clean up either
                raise Killed
            return real(*args, **kwargs)

        return call

    for name in ("fsync", "rename", "replace", "unlink", "rmdir"):
        monkeypatch.setattr(os, name, killing(name))
    return calls


def test_a_kill_at_any_write_leaves_the_old_checkpoint_or_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, int]] = []
    for number in range(1, 100):
        directory = tmp_path / str(number)
        checkpoints = Checkpoints(directory, IDENTITY)
        checkpoints.write(1, fill_with("old"))
        with monkeypatch.context() as patch:
            calls = kill_at(patch, number)
            try:
                checkpoints.write(2, fill_with("new"))
                break
            except Killed:
                found = Checkpoints(directory, IDENTITY)
        latest = present(found.latest())
        assert content(latest) in [(1, "old", "old"), (2, "new", "new")]
        assert all("-step-" in path.name for path in directory.iterdir())
        seen.append((calls[number - 1], latest.step))
        found.write(3, fill_with("newest"))
        assert content(found.latest()) == (3, "newest", "newest")
        assert len(list(directory.iterdir())) == 1
    # weights, state, manifest, directory; from the rename on it is the new one
    assert [name for name, step in seen if step == 1] == ["fsync"] * 4 + ["rename"]
    assert {name for name, step in seen if step == 2} == {"fsync", "rename", "unlink", "rmdir"}


@pytest.mark.parametrize("name", ["weights", "state.json", "manifest.json"])
@pytest.mark.parametrize("damage", ["altered", "truncated", "empty", "missing", "binary"])
def test_a_damaged_checkpoint_is_named_set_aside_and_the_older_one_used(
    checkpoints: Checkpoints,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    name: str,
    damage: str,
) -> None:
    checkpoints.write(1, fill_with("old"))
    shutil.copytree(present(checkpoints.latest()).directory, tmp_path / "copy")
    old = present(checkpoints.latest()).directory
    checkpoints.write(2, fill_with("new"))
    shutil.copytree(tmp_path / "copy", old)  # as if the kill had come before its removal
    path = present(checkpoints.latest()).directory / name
    whole = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        # In the manifest, the last hexadecimal digits are those of its own seal.
        middle = len(whole) // 2
        other = b"1" if whole[middle : middle + 1] != b"1" else b"2"
        path.write_bytes(
            {
                "altered": whole[:middle] + other + whole[middle + 1 :],
                "truncated": whole[:-3],
                "empty": b"",
                "binary": b"\xff\xfe" + whole,
            }[damage]
        )
    assert content(checkpoints.latest()) == (1, "old", "old")
    assert str(path.parent) in caplog.text
    assert name in caplog.text
    (aside,) = (tmp_path / "kept").glob("*.corrupt-1")
    assert aside.name.startswith(path.parent.name)


def test_what_was_set_aside_is_never_overwritten_read_or_deleted(
    checkpoints: Checkpoints, tmp_path: Path
) -> None:
    for number in (1, 2):
        checkpoints.write(7, fill_with(f"bad {number}"))
        (present(checkpoints.latest()).directory / "weights").write_text("damaged")
        assert checkpoints.latest() is None
    kept = tmp_path / "kept"
    assert sorted(path.suffix for path in kept.iterdir()) == [".corrupt-1", ".corrupt-2"]
    checkpoints.write(8, fill_with("good"))
    assert present(checkpoints.latest()).step == 8
    remove_all_but_damaged(kept)
    assert sorted(path.suffix for path in kept.iterdir()) == [".corrupt-1", ".corrupt-2"]


def test_trainings_share_a_directory_without_touching_each_others(
    checkpoints: Checkpoints, tmp_path: Path
) -> None:
    other = Checkpoints(tmp_path / "kept", {"spec": "other"})
    checkpoints.write(1, fill_with("one"))
    assert other.latest() is None
    (tmp_path / "kept" / f".partial-{sha256_of(IDENTITY)[:12]}-left").mkdir()
    other.write(5, fill_with("other"))
    assert present(other.latest()).step == 5
    assert content(Checkpoints(tmp_path / "kept", IDENTITY).latest()) == (1, "one", "one")
    assert not list((tmp_path / "kept").glob(".partial-*"))
    remove_all_but_damaged(tmp_path / "kept")
    assert not (tmp_path / "kept").exists()
    remove_all_but_damaged(tmp_path / "kept")


def test_a_checkpoint_under_another_trainings_name_is_refused(
    checkpoints: Checkpoints, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = Checkpoints(tmp_path / "kept", {"spec": "other"})
    other.write(5, fill_with("other"))
    path = present(other.latest()).directory
    path.rename(path.with_name(f"{sha256_of(IDENTITY)[:12]}-step-00000005"))
    assert checkpoints.latest() is None
    assert "is not of this training" in caplog.text


def test_what_decides_the_result_identifies_a_training_and_nothing_else(
    make_spec: MakeSpec, tmp_path: Path
) -> None:
    def identity(spec: DpoSpec, reference: str = "ref", device: str = "cpu") -> str:
        return sha256_of(identity_of(spec, reference, device))

    spec = make_spec()
    (tmp_path / "moved").mkdir()
    moved = shutil.copy(spec.examples, tmp_path / "moved")
    same: list[dict[str, Any]] = [
        {"checkpoints": "somewhere", "checkpoint_steps": 3},
        {"author": "M7", "max_engine_gap": 0.1},
        {"examples": str(moved)},
        {"base": dataclasses.replace(spec.base, path="elsewhere", dequantized="elsewhere")},
        {"training": dataclasses.replace(spec.training, process="spawn", step0_tolerance=1.0)},
    ]
    for changes in same:
        assert identity(dataclasses.replace(spec, **changes)) == identity(spec), changes
    Path(moved).write_bytes(Path(spec.examples).read_bytes() + b" ")
    others: list[dict[str, Any]] = [
        {"seed": 1},
        {"examples": str(moved)},
        {"base": dataclasses.replace(spec.base, sha256="1")},
        {"training": dataclasses.replace(spec.training, learning_rate=0.5)},
        {"training": dataclasses.replace(spec.training, micro_batch_size=1)},
        {"lora": dataclasses.replace(present(spec.lora), rank=5)},
        {"reference_is_start": False},
    ]
    found = {identity(dataclasses.replace(spec, **changes)) for changes in others}
    found |= {identity(spec), identity(spec, reference="other"), identity(spec, device="cuda")}
    assert len(found) == len(others) + 3


def test_a_fine_tuning_goes_on_whatever_is_made_of_it_afterwards(
    make_sft_spec: MakeLessons,
) -> None:
    """None of these is in the stage's key, so a checkpoint that it keeps must serve them all."""
    spec = make_sft_spec()
    merged = dataclasses.replace(spec.training, method="merged", path=("elsewhere.jsonl",))
    same = dataclasses.replace(spec, training=merged)
    assert identity_of(same, None, "cpu") == identity_of(spec, None, "cpu")


def test_an_adapter_counts_by_its_files(make_spec: MakeSpec, tmp_path: Path) -> None:
    places = [tmp_path / name for name in ("one", "copy", "other")]
    for place in places:
        place.mkdir()
        (place / "adapter_config.json").write_text("{}")
        (place / "adapter_model.safetensors").write_text("o" if place.name == "other" else "s")
    one, copy, other = (
        identity_of(make_spec(policy_adapter=str(place)), "", "") for place in places
    )
    assert one == copy != other
