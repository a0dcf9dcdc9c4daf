from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from iterdpo.errors import UserError
from iterdpo.store.identity import Ref
from iterdpo.store.inventory import read_store
from iterdpo.store.run_roots import RunRoot, read_run_roots
from iterdpo.tools.store import garbage as garbage_module
from iterdpo.tools.store.garbage import Garbage, Sorted, delete, find_garbage, in_use
from tests.store.stores import WHEN, Store, put_loop

KEY = "ab" * 32
NOW = WHEN + 86_400  # a day after the first stage was finished

HOLD = """
import sys
from pathlib import Path
from iterdpo.store.locks import locked
with locked(Path(sys.argv[1])):
    print("holds", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


@contextmanager
def held(path: Path) -> Iterator[int]:
    """Another process holds the lock of ``path``."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "holds\n"
        yield process.pid
        process.stdin.close()


def collect(store: Store, **options: Any) -> Sorted:
    return find_garbage(read_store(store.root), now=NOW, **options)


def named(items: Iterable[Garbage]) -> list[tuple[str, str]]:
    return [(item.stage, item.path.name) for item in items]


def snapshot(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and ".locks" not in path.parts
    }


def test_what_no_run_asked_for_goes_and_parents_of_what_stays_stay(
    store: Store, run_dir: Path
) -> None:
    loop = put_loop(store)
    # The adapter alone: its parents are in use although the run does not name them.
    store.register(run_dir, loop.adapter)
    found = collect(store)
    # The latest first, so that nothing is left without what it was made from.
    order = [loop.second[name] for name in ("pairs", "judgments", "candidates", "prompts")]
    assert named(found.garbage) == [tuple(ref) for ref in order]
    assert {item.reason for item in found.garbage} == {"no registered run uses it"}
    assert found.kept == ()


def test_what_a_run_used_whose_directory_is_gone_goes_only_when_asked_for(
    store: Store, run_dir: Path, tmp_path: Path
) -> None:
    loop = put_loop(store)
    work = Ref("adapter", KEY)
    store.leave(f"adapter/.work-{KEY}/checkpoints/x")
    store.register(run_dir, loop.pairs, name="1" * 16)
    store.register(tmp_path / "gone", loop.adapter, work, name="2" * 16)
    kept = collect(store).kept  # it may have been renamed
    assert {(item.stage, item.key) for item in kept} == {loop.adapter, work}
    assert {item.reason for item in kept} == {
        f"its run's directory is gone: {tmp_path / 'gone'}; if it was not moved, --gone deletes "
        "this"
    }
    assert collect(store, gone=True).kept == ()
    shutil.rmtree(store.root / "adapter" / f".work-{KEY}")
    found = collect(store, gone=True)
    reasons = {item.path.parent.name: item.reason for item in found.garbage}
    assert reasons == {
        "adapter": f"its run's directory is gone: {tmp_path / 'gone'}",
        "prompts": "no registered run uses it",
        "candidates": "no registered run uses it",
        "judgments": "no registered run uses it",
        "pairs": "no registered run uses it",
    }
    assert len(found.garbage) == 5
    assert [delete(store.root, item) for item in found.garbage] == [None] * 5


def test_without_a_run_that_counts_nothing_is_garbage(store: Store, tmp_path: Path) -> None:
    loop = put_loop(store)
    with pytest.raises(UserError, match="no run is registered; everything would count"):
        collect(store)
    store.register(tmp_path / "gone", loop.adapter)
    with pytest.raises(UserError, match=r"every registered run is gone, the last one .*gone;"):
        collect(store)


def test_what_a_run_uses_must_be_known(store: Store, run_dir: Path) -> None:
    loop = put_loop(store)
    store.register(run_dir, loop.adapter)
    bad = store.root / ".runs" / "bad.json"
    bad.write_text("{}")
    with pytest.raises(
        UserError, match=r"bad\.json: is no registration of a run, so what it uses is unknown"
    ):
        collect(store)
    bad.unlink()
    (store.at(loop.adapter) / "stage.json").write_text("{}")
    with pytest.raises(UserError, match="a run needs this stage, and what it was made from"):
        collect(store)


def test_a_stage_of_another_version_that_no_run_needs_goes(store: Store, run_dir: Path) -> None:
    old, new = store.put("s", {"x": 1}), store.put("s", {"x": 2})
    (store.at(old) / "stage.json").write_text("[]")
    store.register(run_dir, new)
    (item,) = collect(store).garbage
    assert (item.key, item.reason[:40]) == (old.key, "no registered run uses it; stage.json ha")


def test_unfinished_work_stays_as_long_as_a_run_asks_for_it(store: Store, run_dir: Path) -> None:
    done = store.put("s", {})
    asked, other = Ref("s", "1" * 64), Ref("s", "2" * 64)
    for ref in (done, asked, other):
        store.leave(f"s/.work-{ref.key}/shards/x", "12")
    store.register(run_dir, done, asked)
    reasons = {item.key: (item.reason, item.size) for item in collect(store).garbage}
    assert reasons == {
        done.key: ("its stage is finished", 2),
        other.key: ("unfinished, and no registered run asks for it", 2),
    }


def test_leftovers_of_killed_writes_go_unless_they_may_still_be_written(
    store: Store, run_dir: Path
) -> None:
    ref = store.put("s", {})
    store.register(run_dir, ref)
    store.leave(f"s/.partial-{KEY[:12]}-abc/x", minute=24 * 60)  # now; its lock tells
    store.leave("s/.partial-abc/x", minute=23 * 60 - 1)
    store.leave(".runs/.partial-abc", minute=23 * 60 + 1)
    found = collect(store)
    assert named(found.garbage) == [("s", f".partial-{KEY[:12]}-abc"), ("s", ".partial-abc")]
    assert named(found.kept) == [("", ".partial-abc")]
    assert found.kept[0].reason == "may still be being written"


def test_what_was_set_aside_as_damaged_goes_only_when_asked_for(
    store: Store, run_dir: Path
) -> None:
    ref = store.put("s", {})
    store.register(run_dir, ref)
    store.leave(f"s/{KEY}.corrupt-1/stage.json")
    store.leave(f"s/.work-{KEY}/shards/good")
    store.leave(f"s/.work-{KEY}/shards/bad.corrupt-1")
    kept = collect(store)
    assert named(kept.garbage) == []
    assert sorted((item.path.name, item.reason) for item in kept.kept) == [
        (f".work-{KEY}", "holds what was set aside as damaged; --corrupt deletes both"),
        (f"{KEY}.corrupt-1", "set aside as damaged; --corrupt deletes it"),
        ("bad.corrupt-1", "set aside as damaged; --corrupt deletes it"),
    ]
    gone = collect(store, corrupt=True)
    assert sorted(item.path.name for item in gone.garbage) == [
        f".work-{KEY}", f"{KEY}.corrupt-1", "bad.corrupt-1",
    ]  # fmt: skip
    for item in gone.garbage:
        assert delete(store.root, item) is None
    assert [path.name for path in (store.root / "s").iterdir()] == [ref.key]


def test_what_is_young_stays(store: Store, run_dir: Path) -> None:
    refs = [store.put("s", {"x": x}) for x in range(3)]  # 1,440, 1,439 and 1,438 minutes ago
    store.register(run_dir, refs[2])
    found = collect(store, older_than_days=1.0)
    assert named(found.garbage) == [("s", refs[0].key)]
    assert [(item.key, item.reason) for item in found.kept] == [
        (refs[1].key, "younger than 1 days")
    ]


def test_a_clock_that_is_behind_keeps_nothing_that_nobody_asked_to_keep(
    store: Store, run_dir: Path
) -> None:
    refs = [store.put("s", {"x": x}) for x in range(2)]
    store.register(run_dir, refs[1])
    found = find_garbage(read_store(store.root), now=WHEN - 3600)
    assert named(found.garbage) == [("s", refs[0].key)]


def test_garbage_is_deleted_and_nothing_else_changes(store: Store, run_dir: Path) -> None:
    loop = put_loop(store)
    store.register(run_dir, loop.pairs, loop.base)
    store.leave(f"pairs/.partial-{KEY[:12]}-abc/x")
    store.leave("pairs/notes.txt", "mine")
    before, found = snapshot(store.root), collect(store)
    for item in found.garbage:
        assert delete(store.root, item) is None
    garbage = {item.path.relative_to(store.root).as_posix() for item in found.garbage}
    assert len(garbage) == 6
    after = snapshot(store.root)
    assert after == {
        name: data
        for name, data in before.items()
        if not any(name.startswith(f"{place}/") for place in garbage)
    }
    assert not list(store.root.rglob(".partial-*"))
    assert collect(store).garbage == ()


def test_what_a_live_process_holds_is_left_and_named(store: Store, run_dir: Path) -> None:
    refs = [store.put("s", {"x": x}) for x in range(2)]
    store.register(run_dir, refs[1])
    store.leave(f"t/.work-{KEY}/shards/x")
    store.leave(f"t/.partial-{KEY[:12]}-abc/x")
    with held(store.root / ".locks" / f"t-{KEY}") as pid:
        found = collect(store)
        said = {item.path.name: delete(store.root, item) for item in found.garbage}
        assert said[refs[0].key] is None
        for name in (f".work-{KEY}", f".partial-{KEY[:12]}-abc"):
            assert (line := said[name]) is not None
            assert line.startswith(f"in use by process {pid} of ")
            assert (store.root / "t" / name).is_dir()
    assert [delete(store.root, item) for item in collect(store).garbage] == [None, None]
    assert list((store.root / "t").iterdir()) == []


def test_looking_whether_something_is_in_use_makes_no_lock(store: Store, run_dir: Path) -> None:
    ref = store.put("s", {"x": 1})
    store.register(run_dir, store.put("s", {"x": 2}))
    (item,) = collect(store).garbage
    assert in_use(store.root, item) is None
    assert not (store.root / ".locks").exists()
    with held(store.root / ".locks" / f"s-{ref.key}") as pid:
        assert f"process {pid} of" in (in_use(store.root, item) or "")


@pytest.mark.parametrize("moment", [1, 2], ids=["before it moves", "when it has moved"])
def test_a_stage_that_a_run_asks_for_meanwhile_is_there_again(
    store: Store, run_dir: Path, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    loop = put_loop(store)
    store.register(run_dir, loop.pairs)
    item = next(item for item in collect(store).garbage if item.stage == "adapter")
    looked = []

    def read(root: Path) -> list[RunRoot]:
        looked.append(item.path.exists())
        if len(looked) == moment:
            store.register(run_dir, loop.pairs, loop.adapter)
        return read_run_roots(root)

    monkeypatch.setattr(garbage_module, "read_run_roots", read)
    before = snapshot(store.at(loop.adapter))
    assert delete(store.root, item) == "a run needs it by now"
    assert looked == [True, False][:moment]
    assert snapshot(store.at(loop.adapter)) == before


def test_a_link_goes_and_what_it_points_to_stays(
    store: Store, run_dir: Path, tmp_path: Path
) -> None:
    ref = store.put("s", {"x": 1})
    store.register(run_dir, store.put("s", {"x": 2}))
    store.at(ref).rename(tmp_path / "elsewhere")
    store.at(ref).symlink_to(tmp_path / "elsewhere")
    (item,) = collect(store).garbage
    assert delete(store.root, item) is None
    assert not store.at(ref).is_symlink()
    assert (tmp_path / "elsewhere" / "stage.json").is_file()


def test_what_cannot_be_deleted_is_one_line(
    store: Store, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put("s", {"x": 1})
    store.register(run_dir, store.put("s", {"x": 2}))
    (item,) = collect(store).garbage

    def fail(path: Any) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(shutil, "rmtree", fail)
    with pytest.raises(UserError, match=r"cannot be deleted \(Permission denied\)"):
        delete(store.root, item)
    # What was renamed away is garbage the next time, and no half stage.
    monkeypatch.undo()
    (left,) = collect(store).garbage
    assert left.path.name.startswith(f".partial-{item.key[:12]}-")
    assert delete(store.root, left) is None


def test_what_somebody_else_deleted_is_gone(store: Store, run_dir: Path) -> None:
    store.put("s", {"x": 1})
    store.register(run_dir, store.put("s", {"x": 2}))
    (item,) = collect(store).garbage
    assert delete(store.root, item) is None
    assert delete(store.root, item) is None


def test_a_registered_stage_that_is_not_there_yet_does_no_harm(store: Store, run_dir: Path) -> None:
    ref = store.put("s", {})
    entry = store.register(run_dir, ref, Ref("later", KEY))
    assert collect(store).garbage == ()
    assert json.loads(entry.read_text())["stages"][1] == f"later/{KEY}"
