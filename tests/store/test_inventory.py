from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from iterdpo.errors import UserError
from iterdpo.store.identity import Ref
from iterdpo.store.inventory import read_store
from iterdpo.store.manifest import manifest_text
from iterdpo.tools.store import show
from iterdpo.tools.store.integrity import Problem, files_to_check, problems
from tests.store.stores import WHEN, Store, put_loop


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def wrong(store: Store) -> list[Any]:
    return [item for some in problems(read_store(store.root)) for item in some]


def test_finished_stages_come_in_the_order_in_which_they_were_finished(store: Store) -> None:
    loop = put_loop(store)
    found = read_store(store.root).finished
    order = [loop.base, loop.prompts, loop.candidates, loop.judgments, loop.pairs, loop.adapter]
    assert list(found) == order + list(loop.second.values())
    assert [item.when for item in found.values()] == [WHEN + 60 * n for n in range(10)]
    assert [item.records() for item in found.values()] == [None, 1, 2, 2, 1, None, 1, 2, 2, 1]
    assert found[loop.base].readable().seconds == 1.5


def test_sizes_are_those_of_all_files(store: Store) -> None:
    ref = store.put("base", {}, files={"dequantized/a": "12345", "b": "123"})
    manifest = (store.at(ref) / "stage.json").stat().st_size
    assert read_store(store.root).finished[ref].size == 8 + manifest


def test_what_is_unfinished_or_left_over_is_told_apart(store: Store) -> None:
    key = "ab" * 32
    store.leave(f"candidates/.work-{key}/shards/00000000-00000064.{key}.parquet", "12", 1)
    store.leave(f"candidates/.work-{key}/shards/00000064-00000096.{key}.parquet", "345", 2)
    store.leave(
        f"candidates/.work-{key}/shards/00000096-00000128.{key}.parquet.corrupt-1", "6789", 3
    )
    store.leave(f"adapter/.work-{key}/training/{'c' * 12}-step-00000040/model", "1", 1)
    store.leave(f"candidates/.partial-{key[:12]}-x_1/records.parquet", "12", 1)
    store.leave("candidates/.partial-abcd_efg", "1", 1)
    store.leave(f"candidates/{key}.corrupt-2/stage.json", "1", 1)
    store.leave(".runs/.partial-abcd_efg", "1", 1)
    store.leave("candidates/notes.txt", "mine", 1)
    store.leave("candidates/.mine", "mine", 1)
    found = sorted(
        (item.kind, item.stage, item.key, item.size, item.note, item.path.name)
        for item in read_store(store.root).leftovers
    )
    part = f"00000096-00000128.{key}.parquet.corrupt-1"
    assert found == [
        ("damaged", "candidates", key, 1, "", f"{key}.corrupt-2"),
        ("damaged", "candidates", key, 4, "", part),
        ("partial", "", "", 1, "", ".partial-abcd_efg"),
        ("partial", "candidates", "", 1, "", ".partial-abcd_efg"),
        ("partial", "candidates", key[:12], 2, "", f".partial-{key[:12]}-x_1"),
        ("unfinished", "adapter", key, 1, "step 40", f".work-{key}"),
        ("unfinished", "candidates", key, 5, "96 items", f".work-{key}"),
    ]


def test_what_was_set_aside_counts_once(store: Store) -> None:
    place = f"adapter/.work-{'ab' * 32}/training/{'c' * 12}-step-00000040.corrupt-1"
    store.leave(f"{place}/model.corrupt-1", "123")
    work, damaged = read_store(store.root).leftovers
    assert (work.kind, work.size, work.note) == ("unfinished", 0, "")
    assert (damaged.kind, damaged.size, damaged.path) == ("damaged", 3, store.root / place)


def test_runs_are_read_with_whether_their_directory_is_there(store: Store, tmp_path: Path) -> None:
    ref = store.put("prompts", {})
    (tmp_path / "here").mkdir()
    store.register(tmp_path / "here", ref, name="1" * 16, updated="2026-11-22T00:00:00+00:00")
    store.register(tmp_path / "gone", ref, name="2" * 16, finished=False, config_sha256="x")
    (store.root / ".runs" / "bad.json").write_text('{"run_dir": 5}')
    bad, gone, here = read_store(store.root).runs
    assert (gone.directory, gone.exists, gone.finished) == (tmp_path / "gone", False, False)
    assert (here.directory, here.exists, here.finished) == (tmp_path / "here", True, True)
    assert here.stages == {ref}
    assert bad.problem == f"{store.root / '.runs' / 'bad.json'}: is no registration of a run"


def test_a_link_to_itself_in_the_place_of_the_runs_names_none(store: Store) -> None:
    store.put("prompts", {})
    (store.root / ".runs").symlink_to(".runs")
    assert read_store(store.root).runs == ()


def test_a_stage_is_used_with_all_that_it_was_made_from(store: Store) -> None:
    loop = put_loop(store)
    found = read_store(store.root)
    first = {loop.base, loop.prompts, loop.candidates, loop.judgments, loop.pairs}
    assert found.closure([loop.pairs]) == first
    absent = Ref("pairs", "0" * 64)
    assert found.closure([absent]) == {absent}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "stage.json is not JSON"),
        ("[]", "no usable key, identity, parents, metrics, files, seconds, versions, checksum:"),
        (
            '{"key": "k", "stage": "s", "parents": []}',
            "no usable identity, parents, metrics, files,",
        ),
        (None, r"stage.json cannot be read \(No such file or directory\)"),
        ("\x00\xff", "stage.json is not JSON"),
    ],
)
def test_a_stage_of_another_version_is_one_line_and_the_others_are_read(
    store: Store, text: str | None, problem: str
) -> None:
    good, old = store.put("s", {"x": 1}), store.put("s", {"x": 2})
    path = store.at(old) / "stage.json"
    path.unlink()
    if text is not None:
        path.write_text(text, "latin-1")
    found = read_store(store.root)
    assert found.finished[good].manifest is not None
    assert found.finished[old].manifest is None
    with pytest.raises(UserError, match=problem) as caught:
        found.finished[old].readable()
    assert "\n" not in str(caught.value)
    assert list(found.identities()) == [good]


def test_parts_of_the_identity_are_named_when_they_are_missing(store: Store) -> None:
    ref = store.put("s", {"x": 1})
    path = store.at(ref) / "stage.json"
    values = json.loads(path.read_text())
    del values["identity"]["args"]
    values["files"] = {"a": 1}
    path.write_text(manifest_text(values))
    problem = read_store(store.root).finished[ref].problem
    assert problem.startswith("stage.json has no usable identity.args, files:")


def test_fields_that_are_not_known_do_no_harm(store: Store) -> None:
    ref = store.put("s", {"x": 1})
    path = store.at(ref) / "stage.json"
    path.write_text(manifest_text(json.loads(path.read_text()) | {"host": "h"}))
    assert read_store(store.root).finished[ref].manifest is not None


def test_a_stage_is_found_by_the_beginning_of_its_key(store: Store) -> None:
    refs = [store.put("s", {"x": x}) for x in range(20)]
    found = read_store(store.root)
    assert found.find("s", refs[3].key[:8].upper()).ref == refs[3]
    with pytest.raises(UserError, match=r"^s : is the beginning of several keys; there are: "):
        found.find("s", "")
    with pytest.raises(UserError, match=rf"^s xyz: begins no key; there are: .*{refs[0].key[:8]}"):
        found.find("s", "xyz")
    with pytest.raises(UserError, match=r"^t: no finished stage of that name; there are: s$"):
        found.find("t", "0")


def test_only_a_store_is_read_as_one(tmp_path: Path) -> None:
    (tmp_path / "src" / "code").mkdir(parents=True)
    with pytest.raises(UserError, match="is not a store"):
        read_store(tmp_path)
    with pytest.raises(UserError, match="No such file"):
        read_store(tmp_path / "absent")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="Not a directory"):
        read_store(tmp_path / "file")
    (tmp_path / ".locks").mkdir()  # of a run that has just begun
    assert read_store(tmp_path).finished == {}


def test_what_was_written_passes(store: Store) -> None:
    put_loop(store)
    assert wrong(store) == []
    assert files_to_check(read_store(store.root)) == 10 + 12
    assert len(list(problems(read_store(store.root)))) == 22


def test_each_damaged_missing_and_extra_file_is_named(store: Store) -> None:
    ref = store.put("base", {}, files={"a": "1", "b/c": "2", "d": "3"})
    store.put("prompts", {}, files={"fine": "1"})
    directory = store.at(ref)
    (directory / "a").write_text("0")
    (directory / "b" / "c").unlink()
    (directory / "b" / "new").write_text("")
    (directory / "link").symlink_to("/")
    assert wrong(store) == [
        Problem(ref, "a", "differs from what was written"),
        Problem(ref, "b/c", "is missing"),
        Problem(ref, "b/new", "is not one of its files"),
        Problem(ref, "link", "is not one of its files"),
    ]


def test_a_manifest_must_hash_to_its_directorys_name(store: Store) -> None:
    settings, stage, text = (store.put(name, {"x": 1}) for name in ("s", "t", "u"))
    for ref, change in ((settings, {"settings": {"x": 2}}), (stage, {"stage": "v"})):
        path = store.at(ref) / "stage.json"
        values = json.loads(path.read_text())
        values["identity"] |= change
        path.write_text(manifest_text(values))
    (store.at(text) / "stage.json").write_text("{")
    other = "is of another key: its identity does not hash to the directory's name"
    found = sorted(wrong(store), key=lambda item: item.ref.stage)
    assert found == [
        Problem(settings, "stage.json", other),
        Problem(stage, "stage.json", other),
        Problem(text, "stage.json", "is not JSON"),
    ]


def test_a_stage_under_another_stages_name_is_named(store: Store) -> None:
    ref = store.put("s", {"x": 1})
    (store.root / "other").mkdir()
    store.at(ref).rename(store.root / "other" / ref.key)
    assert wrong(store) == [Problem(Ref("other", ref.key), "stage.json", "is of another stage: s")]


def test_a_stage_that_goes_while_it_is_read_is_not_damaged(store: Store) -> None:
    ref = store.put("s", {}, files={"a": "1"})
    found = read_store(store.root)
    (store.at(ref) / "a").unlink()
    (store.at(ref) / "stage.json").unlink()
    store.at(ref).rmdir()
    assert [item for some in problems(found) for item in some] == []


def test_numbers_of_runs_are_spans() -> None:
    assert show.spans([]) == ""
    assert show.spans([1, 2, 3, 5, 8, 9]) == "1-3,5,8-9"


def test_what_a_terminal_may_act_upon_is_escaped_and_a_line_stays_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show.line("a\x1b[31mb\nc\u2028[bold]β")
    assert capsys.readouterr().out == "a\\x1b[31mb c\\u2028[bold]β\n"
