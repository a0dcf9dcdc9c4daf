from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from iterdpo.store.atomic import PARTIAL_PREFIX, published_directory, write_text
from iterdpo.store.stages import CorruptStageError, Stages, verify


@dataclass
class Add:
    """A stage that adds its settings to its arguments, and counts how often it really runs."""

    amount: int
    runs: list[int] = field(default_factory=list)
    fail: bool = False

    name = "add"
    version = 1

    @property
    def settings(self):
        return {"amount": self.amount}

    def compute(self, work: Path, *args):
        self.runs.append(1)
        total = self.amount + sum(arg if isinstance(arg, int) else arg.value for arg in args)
        (work / "total.txt").write_text(str(total))
        if self.fail:
            raise RuntimeError("half way")
        return {"total": total}

    def load(self, directory: Path, *_):
        return int((directory / "total.txt").read_text())


def test_a_finished_stage_is_never_computed_twice(tmp_path):
    stage = Add(2)
    first = Stages(tmp_path).run(stage, 3)
    again = Stages(tmp_path).run(Add(2, stage.runs), 3)
    assert (first.value, again.value, len(stage.runs)) == (5, 5, 1)
    assert first.key == again.key


def test_settings_arguments_version_and_parents_each_change_the_key(tmp_path):
    stages = Stages(tmp_path)
    one, two = stages.run(Add(1)), stages.run(Add(2))
    newer = Add(1)
    newer.version = 2
    keys = {
        stages.run(*call).key
        for call in [(Add(1),), (Add(2),), (Add(1), 1), (Add(1), one), (Add(1), two), (newer,)]
    }
    assert len(keys) == 6


def test_a_key_is_known_from_the_parents_key_alone(tmp_path):
    stages = Stages(tmp_path)
    parent = stages.run(Add(1))
    parent.directory.joinpath("total.txt").write_text("77")  # the parent's content plays no part
    child = Stages(tmp_path / "other")
    assert stages.run(Add(1), parent).key == child.run(Add(1), child.run(Add(1))).key


def test_a_stage_that_fails_leaves_nothing_behind(tmp_path):
    with pytest.raises(RuntimeError, match="half way"):
        Stages(tmp_path).run(Add(1, fail=True))
    assert list((tmp_path / "add").iterdir()) == []
    assert Stages(tmp_path).run(Add(1)).value == 1


def test_the_manifest_names_files_metrics_parents_and_versions(tmp_path):
    stages = Stages(tmp_path, versions={"torch": "9"})
    parent = stages.run(Add(1))
    manifest = stages.run(Add(4), parent, 2).manifest
    assert manifest["metrics"] == {"total": 7}
    assert manifest["versions"] == {"torch": "9"}
    assert list(manifest["files"]) == ["total.txt"]
    assert manifest["identity"]["args"] == [{"stage": "add", "key": parent.key}, 2]


@pytest.mark.parametrize("damage", ["change", "truncate", "remove"])
def test_a_damaged_file_is_named_and_never_used(tmp_path, damage):
    path = Stages(tmp_path).run(Add(12)).directory / "total.txt"
    if damage == "remove":
        path.unlink()
    else:
        path.write_text("13" if damage == "change" else "1")
    with pytest.raises(CorruptStageError, match=r"total\.txt"):
        Stages(tmp_path).run(Add(12))


def test_verify_accepts_what_was_written(tmp_path):
    verify(Stages(tmp_path).run(Add(1)).directory)


def test_when_two_publish_the_same_result_the_first_stays(tmp_path):
    final = tmp_path / "key"
    with published_directory(final) as late:
        (late / "who").write_text("late")
        with published_directory(final) as early:
            (early / "who").write_text("early")
    assert (final / "who").read_text() == "early"
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_write_text_replaces_whole_files_and_leaves_no_partial_one(tmp_path):
    path = tmp_path / "summary.json"
    write_text(path, json.dumps({"a": 1}))
    write_text(path, json.dumps({"a": 2}))
    assert json.loads(path.read_text()) == {"a": 2}
    assert not list(tmp_path.glob(f"{PARTIAL_PREFIX}*"))
