from __future__ import annotations

import json
import shutil
from pathlib import Path

from iterdpo.store.registry import RegisteredRun, entries


def registered(root, name, config="c", stages=("candidates/1",)):
    place = root.parent / name
    place.mkdir(exist_ok=True)
    run = RegisteredRun(root, place, config)
    run.uses(stages)
    return run


def test_a_run_tells_what_it_uses_and_when_it_is_finished(tmp_path):
    root = tmp_path / "store"
    run = registered(root, "a", stages=["prompts/1", "candidates/2"])
    (entry,) = entries(root)
    assert entry.run_dir == str(tmp_path / "a")
    assert (entry.stages, entry.finished) == (("prompts/1", "candidates/2"), False)
    run.finish()
    (entry,) = entries(root)
    assert (len(entry.stages), entry.finished) == (2, True)


def test_a_run_whose_directory_is_gone_no_longer_counts(tmp_path):
    registered(tmp_path / "store", "a")
    registered(tmp_path / "store", "b")
    shutil.rmtree(tmp_path / "a")
    assert [entry.run_dir for entry in entries(tmp_path / "store")] == [str(tmp_path / "b")]


def test_the_same_command_finds_the_run_that_was_stopped(tmp_path):
    root = tmp_path / "store"
    registered(root, "other", config="d")
    registered(root, "done").finish()
    again = registered(root, "again")
    assert again.stopped_before() is None
    registered(root, "stopped")
    assert again.stopped_before() == tmp_path / "stopped"


def test_a_run_of_somebody_else_that_cannot_be_looked_into_is_left_out(
    tmp_path, monkeypatch, caplog
):
    registered(tmp_path / "store", "hidden")
    registered(tmp_path / "store", "mine")
    is_dir = Path.is_dir

    def refuse(self):
        if self.name == "hidden":
            raise PermissionError(13, "Permission denied", str(self))
        return is_dir(self)

    monkeypatch.setattr(Path, "is_dir", refuse)
    assert [entry.run_dir for entry in entries(tmp_path / "store")] == [str(tmp_path / "mine")]
    assert not caplog.records


def test_an_entry_that_cannot_be_read_is_left_out_and_named(tmp_path, caplog):
    registered(tmp_path / "store", "a")
    (path,) = (tmp_path / "store" / ".runs").iterdir()
    path.write_text(json.dumps({"run_dir": "x"}))
    assert entries(tmp_path / "store") == []
    assert str(path) in caplog.text
