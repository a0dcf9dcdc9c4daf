from __future__ import annotations

import errno
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from iterdpo.errors import UserError
from iterdpo.runtime.signals import Stopped, StopRequest
from iterdpo.store import hash_cache, registry
from iterdpo.store.atomic import PARTIAL_PREFIX, published_directory, write_text
from iterdpo.store.identity import parents
from iterdpo.store.manifest import CorruptStageError, verify
from iterdpo.store.runner import Stages
from iterdpo.store.stage import Work


@dataclass
class Add:
    """A stage that adds its settings to its arguments, and counts how often it really runs."""

    amount: int
    runs: list[int] = field(default_factory=list)
    fail: bool = False

    name = "add"
    version = 1

    @property
    def settings(self) -> Any:
        return {"amount": self.amount}

    def compute(self, work: Work, /, *args: Any) -> Any:
        self.runs.append(1)
        total = self.amount + sum(arg if isinstance(arg, int) else arg.value for arg in args)
        (work.directory / "total.txt").write_text(str(total))
        if self.fail:
            raise RuntimeError("half way")
        return {"total": total}

    def load(self, directory: Path, *_: Any) -> Any:
        return int((directory / "total.txt").read_text())


def test_a_finished_stage_is_never_computed_twice(tmp_path: Path) -> None:
    stage = Add(2)
    first = Stages(tmp_path).run(stage, 3)
    again = Stages(tmp_path).run(Add(2, stage.runs), 3)
    assert (first.value, again.value, len(stage.runs)) == (5, 5, 1)
    assert first.key == again.key


def test_what_was_loaded_is_let_go_and_loaded_again(tmp_path: Path) -> None:
    stages = Stages(tmp_path)
    first = stages.run(Add(2), 3)
    second = stages.run(Add(1), first)
    assert (first.value, second.value) == (5, 6)
    first.directory.joinpath("total.txt").write_text("7")
    assert first.value == 5, "loaded once"
    stages.forget()
    assert first.value == 7
    assert second.args[0].value == 7, "what leads to a result is the very same"


def test_settings_arguments_version_and_parents_each_change_the_key(tmp_path: Path) -> None:
    stages = Stages(tmp_path)
    one, two = stages.run(Add(1)), stages.run(Add(2))
    newer = Add(1)
    newer.version = 2
    calls: list[tuple[Any, ...]] = [
        (Add(1),), (Add(2),), (Add(1), 1), (Add(1), one), (Add(1), two), (newer,),
    ]  # fmt: skip
    keys = {stages.run(*call).key for call in calls}
    assert len(keys) == 6


def test_a_key_is_known_from_the_parents_key_alone(tmp_path: Path) -> None:
    stages = Stages(tmp_path)
    parent = stages.run(Add(1))
    parent.directory.joinpath("total.txt").write_text("77")  # the parent's content plays no part
    child = Stages(tmp_path / "other")
    assert stages.run(Add(1), parent).key == child.run(Add(1), child.run(Add(1))).key


@dataclass(frozen=True)
class Inputs:
    """Earlier results by name."""

    first: Any
    more: tuple[Any, ...] = ()


def test_a_stage_counts_by_its_key_however_deep_it_lies_in_an_argument(tmp_path: Path) -> None:
    class Take(Add):
        def compute(self, work: Work, *args: Any, **kwargs: Any) -> Any:
            return super().compute(work)

        def load(self, directory: Path, *args: Any, **kwargs: Any) -> Any:
            return args, kwargs

    stages = Stages(tmp_path)
    one, two = stages.run(Add(1)), stages.run(Add(2))
    deep = (None, [one, 5]), Inputs(two, more=(one,))
    stored = stages.run(Take(3), *deep, last={"two": two})
    first, second = ({"stage": "add", "key": item.key} for item in (one, two))
    made_of: Any = stored.manifest["identity"]
    assert made_of["args"] == [[None, [first, 5]], {"first": second, "more": [first]}]
    assert made_of["kwargs"] == {"last": {"two": second}}
    assert [ref.key for ref in parents(made_of)] == [one.key, two.key, one.key, two.key]
    assert stored.value == (deep, {"last": {"two": two}})


def test_arguments_by_name_have_no_order(tmp_path: Path) -> None:
    class Named(Add):
        def compute(self, work: Work, /, *_: Any, **kwargs: int) -> Any:
            return super().compute(work, *kwargs.values())

        def load(self, directory: Path, *_: Any, **__: Any) -> Any:
            return super().load(directory)

    stages = Stages(tmp_path)
    keys = [
        stages.run(Named(1), **inputs).key
        for inputs in ({"a": 2, "b": 3}, {"b": 3, "a": 2}, {"a": 3, "b": 2})
    ]
    assert keys[0] == keys[1] != keys[2]


def test_a_stage_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="half way"):
        Stages(tmp_path).run(Add(1, fail=True))
    assert list((tmp_path / "add").iterdir()) == []
    assert Stages(tmp_path).run(Add(1)).value == 1


def test_the_manifest_names_files_metrics_parents_and_versions(tmp_path: Path) -> None:
    stages = Stages(tmp_path, versions={"torch": "9"})
    parent = stages.run(Add(1))
    manifest: Any = stages.run(Add(4), parent, 2).manifest
    assert manifest["metrics"] == {"total": 7}
    assert manifest["versions"] == {"torch": "9"}
    assert manifest["peak_memory"]["ram"] > 2**20  # that of an interpreter, at the least
    assert list(manifest["files"]) == ["total.txt"]
    assert manifest["identity"]["args"] == [{"stage": "add", "key": parent.key}, 2]


@pytest.mark.parametrize("damage", ["change", "truncate", "remove", "manifest"])
def test_a_damaged_result_is_named_set_aside_and_computed_again(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    stage = Add(12)
    directory = Stages(tmp_path).run(stage).directory
    path = directory / ("stage.json" if damage == "manifest" else "total.txt")
    if damage == "remove":
        path.unlink()
    else:
        path.write_text("13" if damage == "change" else "1")
    with pytest.raises(CorruptStageError, match=path.name):
        verify(directory)
    again = Stages(tmp_path).run(Add(12, stage.runs))
    assert (again.value, again.computed, len(stage.runs)) == (12, True, 2)
    assert str(path) in caplog.text
    assert (tmp_path / "add" / f"{again.key}.corrupt-1").is_dir()
    verify(again.directory)


def test_a_result_of_somebody_else_that_may_not_be_read_is_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Stages(tmp_path).run(Add(2), 3)

    def refuse(path: Any) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(hash_cache, "file_sha256", refuse)
    with pytest.raises(UserError, match=r"total\.txt: cannot be read .* ask its owner"):
        Stages(tmp_path).run(Add(2), 3)


def test_a_disk_that_is_too_full_to_register_a_run_is_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Any, text: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(registry, "write_text", full)
    registered = registry.RegisteredRun(tmp_path / "store", tmp_path, "0")
    with pytest.raises(UserError, match="the disk is full"):
        Stages(tmp_path / "store", registered=registered).run(Add(2), 3)


def test_what_this_call_computed_says_so(tmp_path: Path) -> None:
    assert Stages(tmp_path).run(Add(1)).computed
    assert not Stages(tmp_path).run(Add(1)).computed


def test_what_a_killed_process_left_of_a_stage_is_removed(tmp_path: Path) -> None:
    key = Stages(tmp_path / "other").run(Add(1)).key
    left = tmp_path / "add" / f"{PARTIAL_PREFIX}{key[:12]}-xyz"
    left.mkdir(parents=True)
    other = tmp_path / "add" / f"{PARTIAL_PREFIX}{'0' * 12}-xyz"
    other.mkdir()
    Stages(tmp_path).run(Add(1))
    assert not left.exists()
    assert other.exists()


def test_what_a_stage_kept_is_there_at_the_next_try_and_gone_when_it_is_finished(
    tmp_path: Path,
) -> None:
    seen = []

    class Slow(Add):
        def compute(self, work: Any, *args: Any) -> Any:
            seen.append(sorted(path.name for path in work.kept.glob("*")))
            work.kept.mkdir(parents=True, exist_ok=True)
            (work.kept / "half").write_text("half")
            return super().compute(work, *args)

    with pytest.raises(RuntimeError):
        Stages(tmp_path).run(Slow(1, fail=True))
    Stages(tmp_path).run(Slow(1))
    assert seen == [[], ["half"]]
    assert not list((tmp_path / "add").glob(".work-*"))


def test_work_that_a_kill_left_beside_a_finished_stage_goes_and_what_was_set_aside_stays(
    tmp_path: Path,
) -> None:
    directory = Stages(tmp_path).run(Add(1)).directory
    kept = directory.parent / f".work-{directory.name}"
    (kept / "shards").mkdir(parents=True)
    (kept / "shards" / "1.parquet").write_text("left")
    assert not Stages(tmp_path).run(Add(1)).computed
    assert not kept.exists()
    (kept / "shards").mkdir(parents=True)
    (kept / "shards" / "1.parquet").write_text("left")
    (kept / "shards" / "2.parquet.corrupt-1").write_text("damaged")
    Stages(tmp_path).run(Add(1))
    assert [path.name for path in kept.rglob("*.*")] == ["2.parquet.corrupt-1"]


def test_a_run_that_is_to_stop_begins_no_stage(tmp_path: Path) -> None:
    stop, stage = StopRequest(), Add(1)
    stop.number = 15
    with pytest.raises(Stopped):
        Stages(tmp_path, stop=stop).run(stage)
    assert stage.runs == []


def test_others_may_read_as_far_as_the_umask_says(tmp_path: Path) -> None:
    umask = os.umask(0o022)
    try:
        directory = Stages(tmp_path).run(Add(1)).directory
    finally:
        os.umask(umask)
    modes = [path.stat().st_mode & 0o777 for path in (directory, directory / "stage.json")]
    assert [oct(mode) for mode in modes] == ["0o755", "0o644"]


def test_verify_accepts_what_was_written(tmp_path: Path) -> None:
    verify(Stages(tmp_path).run(Add(1)).directory)


def test_when_two_publish_the_same_result_the_first_stays(tmp_path: Path) -> None:
    final = tmp_path / "key"
    with published_directory(final) as late:
        (late / "who").write_text("late")
        with published_directory(final) as early:
            (early / "who").write_text("early")
    assert (final / "who").read_text() == "early"
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_write_text_replaces_whole_files_and_leaves_no_partial_one(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    write_text(path, json.dumps({"a": 1}))
    write_text(path, json.dumps({"a": 2}))
    assert json.loads(path.read_text()) == {"a": 2}
    assert not list(tmp_path.glob(f"{PARTIAL_PREFIX}*"))
